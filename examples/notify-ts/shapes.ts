// Written by types.mjs from the JSON Schemas. Do not edit.

export type Shape =
  | 'id' | 'time' | 'string' | 'number' | 'boolean'
  | { words: readonly string[] }
  | { list: Shape }
  | { fields: { readonly [name: string]: Shape }; orNull?: boolean }

/** What must be there in the data of each event type. */
export const shapes: { readonly [type: string]: Shape } = {
  'smartconnect.access.ended.v1': {"fields":{"memberId":"id","action":{"words":["restore_consent","none"]},"reason":"string","connections":{"list":{"fields":{"connectionId":"id","integrationType":"string","restored":"boolean"}}}}},
  'smartconnect.access.restore_overdue.v1': {"fields":{"memberId":"id","action":{"words":["restore_consent","none"]},"reason":"string","connections":{"list":{"fields":{"connectionId":"id","integrationType":"string","restored":"boolean"}}}}},
  'smartconnect.access.restored.v1': {"fields":{"memberId":"id","action":{"words":["restore_consent","none"]},"reason":"string","connections":{"list":{"fields":{"connectionId":"id","integrationType":"string","restored":"boolean"}}}}},
  'smartconnect.agenda.snapshot.v1': {"fields":{"incarnation":"string","sequences":{"fields":{}},"latest":{"fields":{}},"memberId":"id","prompts":{"list":{"fields":{"memberId":"id","connectionId":"id","promptId":"id","action":{"words":["oauth","activate_direct","reenter_credentials","verify_identity","restore_consent","reconnect_in_app","sign_in","wait","none","unknown"]},"reason":"string","urgency":{"words":["required","optional"]},"notify":"boolean","connectionStatus":"string","openedAt":"time","reminder":"number","flapCount":"number"}}},"asked":{"list":{"fields":{"connection":"string","openings":"number","episode":"number","reminders":"number"}}},"access":{"orNull":true,"fields":{"key":"string","connections":{"list":"string"},"endedAt":"time"}},"pushes":{"list":"time"},"decided":"string"}},
  'smartconnect.connection.baseline.v1': {"fields":{"memberId":"id","connectionId":"id","previous":{"orNull":true,"fields":{}},"current":{"orNull":true,"fields":{}},"changed":{"list":"string"},"episode":"number"}},
  'smartconnect.connection.changed.v1': {"fields":{"memberId":"id","connectionId":"id","previous":{"orNull":true,"fields":{}},"current":{"orNull":true,"fields":{}},"changed":{"list":"string"},"episode":"number"}},
  'smartconnect.connection.confirmed.v1': {"fields":{"memberId":"id","connectionId":"id","previous":{"orNull":true,"fields":{}},"current":{"orNull":true,"fields":{}},"changed":{"list":"string"},"episode":"number"}},
  'smartconnect.connection.discovered.v1': {"fields":{"memberId":"id","connectionId":"id","previous":{"orNull":true,"fields":{}},"current":{"orNull":true,"fields":{}},"changed":{"list":"string"},"episode":"number"}},
  'smartconnect.connection.expiring.v1': {"fields":{"memberId":"id","connectionId":"id","previous":{"orNull":true,"fields":{}},"current":{"orNull":true,"fields":{}},"changed":{"list":"string"},"episode":"number","expiresAt":"time"}},
  'smartconnect.connection.removed.v1': {"fields":{"memberId":"id","connectionId":"id","previous":{"orNull":true,"fields":{}},"current":{"orNull":true,"fields":{}},"changed":{"list":"string"},"episode":"number"}},
  'smartconnect.connection.replaced.v1': {"fields":{"memberId":"id","connectionId":"id","previous":{"orNull":true,"fields":{}},"current":{"orNull":true,"fields":{}},"changed":{"list":"string"},"episode":"number"}},
  'smartconnect.connection.status_changed.v1': {"fields":{"memberId":"id","connectionId":"id","previous":{"orNull":true,"fields":{}},"current":{"orNull":true,"fields":{}},"changed":{"list":"string"},"episode":"number"}},
  'smartconnect.connection.sync_changed.v1': {"fields":{"memberId":"id","connectionId":"id","previous":{"orNull":true,"fields":{}},"current":{"orNull":true,"fields":{}},"changed":{"list":"string"},"episode":"number"}},
  'smartconnect.consent.baseline.v1': {"fields":{"memberId":"id","current":{"words":["permit","deny","none"]}}},
  'smartconnect.consent.granted.v1': {"fields":{"memberId":"id","current":{"words":["permit","deny","none"]}}},
  'smartconnect.consent.revoked.v1': {"fields":{"memberId":"id","current":{"words":["permit","deny","none"]}}},
  'smartconnect.member.snapshot.v1': {"fields":{"incarnation":"string","sequences":{"fields":{}},"latest":{"fields":{}},"memberId":"id","connections":{"list":{"fields":{"connection":"string","connectionId":"id","number":"number","state":{"fields":{}},"firstSeen":"time","episode":"number","flapCount":"number"}}},"task":{"orNull":true,"fields":{"taskId":"id","status":"string"}},"consent":{"fields":{"read":"boolean"}},"recommendations":{"list":{"fields":{"memberId":"id","alias":"string","offerId":"id"}}},"observation":{"fields":{}}}},
  'smartconnect.observation.lost.v1': {"fields":{"memberId":"id","reason":"string","action":{"words":["sign_in","none"]}}},
  'smartconnect.observation.resumed.v1': {"fields":{"memberId":"id","reason":"string","action":{"words":["sign_in","none"]}}},
  'smartconnect.observation.started.v1': {"fields":{"memberId":"id","reason":"string","action":{"words":["sign_in","none"]}}},
  'smartconnect.observer.lost.v1': {"fields":{"reason":"string","share":"number","since":"time"}},
  'smartconnect.observer.resumed.v1': {"fields":{"reason":"string","share":"number","since":"time"}},
  'smartconnect.prompt.acknowledged.v1': {"fields":{"memberId":"id","connectionId":"id","promptId":"id","action":{"words":["oauth","activate_direct","reenter_credentials","verify_identity","restore_consent","reconnect_in_app","sign_in","wait","none","unknown"]},"reason":"string","urgency":{"words":["required","optional"]},"notify":"boolean","connectionStatus":"string","openedAt":"time","reminder":"number","flapCount":"number"}},
  'smartconnect.prompt.expired.v1': {"fields":{"memberId":"id","connectionId":"id","promptId":"id","action":{"words":["oauth","activate_direct","reenter_credentials","verify_identity","restore_consent","reconnect_in_app","sign_in","wait","none","unknown"]},"reason":"string","urgency":{"words":["required","optional"]},"notify":"boolean","connectionStatus":"string","openedAt":"time","reminder":"number","flapCount":"number","closedAt":"time"}},
  'smartconnect.prompt.opened.v1': {"fields":{"memberId":"id","connectionId":"id","promptId":"id","action":{"words":["oauth","activate_direct","reenter_credentials","verify_identity","restore_consent","reconnect_in_app","sign_in","wait","none","unknown"]},"reason":"string","urgency":{"words":["required","optional"]},"notify":"boolean","connectionStatus":"string","openedAt":"time","reminder":"number","flapCount":"number"}},
  'smartconnect.prompt.reminded.v1': {"fields":{"memberId":"id","connectionId":"id","promptId":"id","action":{"words":["oauth","activate_direct","reenter_credentials","verify_identity","restore_consent","reconnect_in_app","sign_in","wait","none","unknown"]},"reason":"string","urgency":{"words":["required","optional"]},"notify":"boolean","connectionStatus":"string","openedAt":"time","reminder":"number","flapCount":"number"}},
  'smartconnect.prompt.resolved.v1': {"fields":{"memberId":"id","connectionId":"id","promptId":"id","action":{"words":["oauth","activate_direct","reenter_credentials","verify_identity","restore_consent","reconnect_in_app","sign_in","wait","none","unknown"]},"reason":"string","urgency":{"words":["required","optional"]},"notify":"boolean","connectionStatus":"string","openedAt":"time","reminder":"number","flapCount":"number","closedAt":"time","downtime":"number"}},
  'smartconnect.prompt.withdrawn.v1': {"fields":{"memberId":"id","connectionId":"id","promptId":"id","action":{"words":["oauth","activate_direct","reenter_credentials","verify_identity","restore_consent","reconnect_in_app","sign_in","wait","none","unknown"]},"reason":"string","urgency":{"words":["required","optional"]},"notify":"boolean","connectionStatus":"string","openedAt":"time","reminder":"number","flapCount":"number","closedAt":"time"}},
  'smartconnect.recommendation.found.v1': {"fields":{"memberId":"id","alias":"string","offerId":"id"}},
  'smartconnect.recommendation.withdrawn.v1': {"fields":{"memberId":"id","alias":"string","offerId":"id"}},
  'smartconnect.silence.ended.v1': {"fields":{"scope":{"fields":{}},"until":"time","by":"string","reason":"string"}},
  'smartconnect.silence.set.v1': {"fields":{"scope":{"fields":{}},"until":"time","by":"string","reason":"string"}},
  'smartconnect.source.degraded.v1': {"fields":{"reason":"string","members":"number","share":"number"}},
  'smartconnect.source.restored.v1': {"fields":{"reason":"string","members":"number","share":"number"}},
  'smartconnect.storm.held.v1': {"fields":{"reason":"string","changed":"number","members":"number"}},
  'smartconnect.storm.released.v1': {"fields":{"reason":"string","changed":"number","members":"number"}},
  'smartconnect.task.baseline.v1': {"fields":{"memberId":"id","taskId":"id","current":"string"}},
  'smartconnect.task.status_changed.v1': {"fields":{"memberId":"id","taskId":"id","current":"string"}},
}

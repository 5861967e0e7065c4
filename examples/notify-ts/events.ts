// Written by types.mjs from the JSON Schemas. Do not edit.

/** The data of each event type. */
export interface Events {
  /** Access ended with the consent. The member's consent ended, and with it the access of these connections. Told once per denial. */
  'smartconnect.access.ended.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** What helps: the member gives consent again, or nothing is asked. */
    action: "restore_consent" | "none"
    /** Why: consent_ended, consent_restored, restore_overdue. Open. */
    reason: string
    /** The connections that the consent governs and that lost access with it. */
    connections: Array<{
      /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
      connectionId: string
      /** DIRECT_IAS or INDIRECT_IAS. Open. */
      integrationType: string
      /** Whether it works again. */
      restored: boolean
    }>
  }
  /** Access did not come back. The consent was given again and access did not come back in the time b.well needs. For operators. */
  'smartconnect.access.restore_overdue.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** What helps: the member gives consent again, or nothing is asked. */
    action: "restore_consent" | "none"
    /** Why: consent_ended, consent_restored, restore_overdue. Open. */
    reason: string
    /** The connections that the consent governs and that lost access with it. */
    connections: Array<{
      /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
      connectionId: string
      /** DIRECT_IAS or INDIRECT_IAS. Open. */
      integrationType: string
      /** Whether it works again. */
      restored: boolean
    }>
  }
  /** Access is back. The consent was given again. Says which connections came back. */
  'smartconnect.access.restored.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** What helps: the member gives consent again, or nothing is asked. */
    action: "restore_consent" | "none"
    /** Why: consent_ended, consent_restored, restore_overdue. Open. */
    reason: string
    /** The connections that the consent governs and that lost access with it. */
    connections: Array<{
      /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
      connectionId: string
      /** DIRECT_IAS or INDIRECT_IAS. Open. */
      integrationType: string
      /** Whether it works again. */
      restored: boolean
    }>
  }
  /** All that is asked of a member. The head of what is asked: all open prompts, whole. A service that reads only the last one per member has the whole truth. */
  'smartconnect.agenda.snapshot.v1': {
    /** Minted at enrolment. A member who is forgotten and enrolled again has a new one. */
    incarnation: string
    /** The last sequence of each subject that is written together with this head: connection.<c>, task, … */
    sequences: Record<string, number>
    /** The id of the last event of each of these subjects. */
    latest: Record<string, string>
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** The open prompts, each as its last prompt event told it. */
    prompts: Array<{
      /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
      memberId: string
      /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
      connectionId: string
      /** Names this opening, for prompt.start: the connection token and the number of the opening. No identity. */
      promptId: string
      /** How the member reconnects. oauth: a login page; activate_direct: one tap; unknown: b.well did not say how. */
      action: "oauth" | "activate_direct" | "reenter_credentials" | "verify_identity" | "restore_consent" | "reconnect_in_app" | "sign_in" | "wait" | "none" | "unknown"
      /** Why it was opened, or why it was closed: expired, disconnected, deleted, error, connected, removed, consent_ended, superseded, … Open. */
      reason: string
      /** How much it matters. optional: the member did it, list it in the app. */
      urgency: "required" | "optional"
      /** Whether the member should be pushed now. False: show it in the app only. */
      notify: boolean
      /** Why notify is false: policy (nobody is pushed for this status), pushed_before (in the same episode), weekly_cap. Absent where notify is true, and when a prompt is acknowledged or closed. Open. */
      notPushed?: string
      /** The connection's status when the prompt was opened, b.well's word. Open. */
      connectionStatus: string
      /** PROA, DIRECT_IAS or INDIRECT_IAS. Open; absent if b.well sent none. */
      integrationType?: string
      /** When the prompt was opened. */
      openedAt: string
      /** 0 for the opening, then 1, 2, … */
      reminder: number
      /** How often the connection came and went in this episode. */
      flapCount: number
      /** Shared by prompts that are opened or reminded of together, so that one message can tell of all: the promptId of the first, and which reminder that is, if it is one. Absent if alone. */
      batch?: string
      /** Quiet hours: do not push before. A hint; absent outside of them. */
      notBefore?: string
      /** The member asked to be reminded then. */
      snoozedUntil?: string
      /** When the prompt was closed. Absent while it is open. */
      closedAt?: string
      /** Whole seconds from the break that began the episode to the recovery. Of prompts of one episode each counts from that break, so they are not to be added up. */
      downtime?: number
    }>
    /** What was asked in the latest break, by connection. */
    asked: Array<{
      /** The connection's token, as in subjects. */
      connection: string
      /** How many prompts were ever opened; the number in the promptId. */
      openings: number
      /** The break that the fields below speak of. */
      episode: number
      /** The event id of the latest opening. */
      openingId?: string
      /** How many reminders were sent for the open prompt. */
      reminders: number
      /** When the next reminder is due. */
      remindAt?: string
      /** Since when there is reason to ask; others of the member may join within the grouping window. */
      readyAt?: string
      /** When the member was pushed in this episode. */
      pushedAt?: string
      /** When the member acknowledged. No more reminders in this episode. */
      acknowledgedAt?: string
      /** No reminders before. */
      snoozedUntil?: string
      /** What activating directly came to in this episode: this action is needed instead. */
      instead?: "oauth" | "activate_direct" | "reenter_credentials" | "verify_identity" | "restore_consent" | "reconnect_in_app" | "sign_in" | "wait" | "none" | "unknown"
      /** When the connection was activated without asking, once per episode. */
      activatedAt?: string
      /** An operator wants it asked although it broke before we first looked. */
      released?: boolean
      /** When the open prompt expires. */
      expiresAt?: string
      /** When asking ended. No more prompts in this episode. */
      expiredAt?: string
      /** When access.restore_overdue was told. */
      overdueAt?: string
    }>
    /** The latest end of access and what followed; null if there was none. */
    access: {
      /** Names the denial: the consent's id and time. One access.ended for each. */
      key: string
      /** The tokens of the connections that lost access. */
      connections: Array<string>
      /** When access.ended was told. */
      endedAt: string
      /** When the consent was given again. */
      permittedAt?: string
      /** When access.restore_overdue was told. */
      overdueAt?: string
      /** When access.restored was told. */
      restoredAt?: string
    } | null
    /** When the member was pushed in the last seven days. */
    pushes: Array<string>
    /** The event id of the member.snapshot this was decided from. */
    decided: string
    /** When the member is looked at again without a trigger. Absent: never. */
    nextLook?: string
  }
  /** A connection at the first look. How a connection stood when its member was first observed. No change is told by it. */
  'smartconnect.connection.baseline.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
    connectionId: string
    /** Before; null when the connection is first seen. */
    previous: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** Now; null when the connection is gone. */
    current: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** The names of the fields that differ between previous and current, sorted. */
    changed: Array<string>
    /** Set when statusUpdated moved and the status did not: something came and went unseen between these times. */
    missedBetween?: {
      /** It happened after this. */
      after: string
      /** It happened before this. */
      before: string
    }
    /** The number of the break this belongs to, counted per connection; 0 if it belongs to none. */
    episode: number
    /** When the connection will expire. Only in connection.expiring. */
    expiresAt?: string
  }
  /** A connection's kind changed. integrationType, category or type changed while nothing else did. The action of an open prompt may change with it. */
  'smartconnect.connection.changed.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
    connectionId: string
    /** Before; null when the connection is first seen. */
    previous: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** Now; null when the connection is gone. */
    current: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** The names of the fields that differ between previous and current, sorted. */
    changed: Array<string>
    /** Set when statusUpdated moved and the status did not: something came and went unseen between these times. */
    missedBetween?: {
      /** It happened after this. */
      after: string
      /** It happened before this. */
      before: string
    }
    /** The number of the break this belongs to, counted per connection; 0 if it belongs to none. */
    episode: number
    /** When the connection will expire. Only in connection.expiring. */
    expiresAt?: string
  }
  /** A break stands. The connection is still broken after the time that most breaks need to heal by themselves. Told once per break. */
  'smartconnect.connection.confirmed.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
    connectionId: string
    /** Before; null when the connection is first seen. */
    previous: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** Now; null when the connection is gone. */
    current: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** The names of the fields that differ between previous and current, sorted. */
    changed: Array<string>
    /** Set when statusUpdated moved and the status did not: something came and went unseen between these times. */
    missedBetween?: {
      /** It happened after this. */
      after: string
      /** It happened before this. */
      before: string
    }
    /** The number of the break this belongs to, counted per connection; 0 if it belongs to none. */
    episode: number
    /** When the connection will expire. Only in connection.expiring. */
    expiresAt?: string
  }
  /** A new connection. A connection that was not there at an earlier look. */
  'smartconnect.connection.discovered.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
    connectionId: string
    /** Before; null when the connection is first seen. */
    previous: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** Now; null when the connection is gone. */
    current: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** The names of the fields that differ between previous and current, sorted. */
    changed: Array<string>
    /** Set when statusUpdated moved and the status did not: something came and went unseen between these times. */
    missedBetween?: {
      /** It happened after this. */
      after: string
      /** It happened before this. */
      before: string
    }
    /** The number of the break this belongs to, counted per connection; 0 if it belongs to none. */
    episode: number
    /** When the connection will expire. Only in connection.expiring. */
    expiresAt?: string
  }
  /** A connection will expire. The connection works, and is known to expire at expiresAt. */
  'smartconnect.connection.expiring.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
    connectionId: string
    /** Before; null when the connection is first seen. */
    previous: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** Now; null when the connection is gone. */
    current: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** The names of the fields that differ between previous and current, sorted. */
    changed: Array<string>
    /** Set when statusUpdated moved and the status did not: something came and went unseen between these times. */
    missedBetween?: {
      /** It happened after this. */
      after: string
      /** It happened before this. */
      before: string
    }
    /** The number of the break this belongs to, counted per connection; 0 if it belongs to none. */
    episode: number
    /** When the connection will expire. Only in connection.expiring. */
    expiresAt: string
  }
  /** A connection is gone. b.well has stopped listing the connection. current is what b.well says of it as deleted, or null. */
  'smartconnect.connection.removed.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
    connectionId: string
    /** Before; null when the connection is first seen. */
    previous: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** Now; null when the connection is gone. */
    current: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** The names of the fields that differ between previous and current, sorted. */
    changed: Array<string>
    /** Set when statusUpdated moved and the status did not: something came and went unseen between these times. */
    missedBetween?: {
      /** It happened after this. */
      after: string
      /** It happened before this. */
      before: string
    }
    /** The number of the break this belongs to, counted per connection; 0 if it belongs to none. */
    episode: number
    /** When the connection will expire. Only in connection.expiring. */
    expiresAt?: string
  }
  /** A connection was made anew. The same source, but b.well created the connection again: created differs. */
  'smartconnect.connection.replaced.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
    connectionId: string
    /** Before; null when the connection is first seen. */
    previous: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** Now; null when the connection is gone. */
    current: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** The names of the fields that differ between previous and current, sorted. */
    changed: Array<string>
    /** Set when statusUpdated moved and the status did not: something came and went unseen between these times. */
    missedBetween?: {
      /** It happened after this. */
      after: string
      /** It happened before this. */
      before: string
    }
    /** The number of the break this belongs to, counted per connection; 0 if it belongs to none. */
    episode: number
    /** When the connection will expire. Only in connection.expiring. */
    expiresAt?: string
  }
  /** A connection's status changed. b.well tells another status, or tells by missedBetween that there was one for a while. A break told here is not confirmed yet. */
  'smartconnect.connection.status_changed.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
    connectionId: string
    /** Before; null when the connection is first seen. */
    previous: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** Now; null when the connection is gone. */
    current: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** The names of the fields that differ between previous and current, sorted. */
    changed: Array<string>
    /** Set when statusUpdated moved and the status did not: something came and went unseen between these times. */
    missedBetween?: {
      /** It happened after this. */
      after: string
      /** It happened before this. */
      before: string
    }
    /** The number of the break this belongs to, counted per connection; 0 if it belongs to none. */
    episode: number
    /** When the connection will expire. Only in connection.expiring. */
    expiresAt?: string
  }
  /** Retrieving records changed. syncStatus or syncErrors changed while the status did not. */
  'smartconnect.connection.sync_changed.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
    connectionId: string
    /** Before; null when the connection is first seen. */
    previous: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** Now; null when the connection is gone. */
    current: {
      /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
      status?: string
      /** The word b.well sent, where status is UNKNOWN. */
      statusRaw?: string
      /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
      integrationType?: string
      /** The word b.well sent, where integrationType is UNKNOWN. */
      integrationTypeRaw?: string
      /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
      category?: string
      /** The word b.well sent, where category is UNKNOWN. */
      categoryRaw?: string
      /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
      type?: string
      /** The word b.well sent, where type is UNKNOWN. */
      typeRaw?: string
      /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
      syncStatus?: string
      /** The word b.well sent, where syncStatus is UNKNOWN. */
      syncStatusRaw?: string
      /** Codes of what went wrong while retrieving, sorted. */
      syncErrors?: Array<string>
      /** When the status last changed, by b.well's clock. */
      statusUpdated?: string
      /** When the connection was made, by b.well's clock. */
      created?: string
      /** When records were last retrieved, by b.well's clock. */
      lastSynced?: string
    } | null
    /** The names of the fields that differ between previous and current, sorted. */
    changed: Array<string>
    /** Set when statusUpdated moved and the status did not: something came and went unseen between these times. */
    missedBetween?: {
      /** It happened after this. */
      after: string
      /** It happened before this. */
      before: string
    }
    /** The number of the break this belongs to, counted per connection; 0 if it belongs to none. */
    episode: number
    /** When the connection will expire. Only in connection.expiring. */
    expiresAt?: string
  }
  /** The consent at the first look. What the member's consent to records by individual access (IAS) said when it was first read. */
  'smartconnect.consent.baseline.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the consent; absent if there is none. */
    consentId?: string
    /** The provision before; absent if it was not known. */
    previous?: "permit" | "deny" | "none"
    /** What holds now. none: never asked, or no consent in force. */
    current: "permit" | "deny" | "none"
  }
  /** Consent was given. The member permits records by individual access (IAS). */
  'smartconnect.consent.granted.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the consent; absent if there is none. */
    consentId?: string
    /** The provision before; absent if it was not known. */
    previous?: "permit" | "deny" | "none"
    /** What holds now. none: never asked, or no consent in force. */
    current: "permit" | "deny" | "none"
  }
  /** Consent ended. The member's permission for records by individual access (IAS) ended. */
  'smartconnect.consent.revoked.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the consent; absent if there is none. */
    consentId?: string
    /** The provision before; absent if it was not known. */
    previous?: "permit" | "deny" | "none"
    /** What holds now. none: never asked, or no consent in force. */
    current: "permit" | "deny" | "none"
  }
  /** All that is known of a member. The head of what is known: everything b.well last said of the member, whole. The last one is the truth. */
  'smartconnect.member.snapshot.v1': {
    /** Minted at enrolment. A member who is forgotten and enrolled again has a new one. */
    incarnation: string
    /** The last sequence of each subject that is written together with this head: connection.<c>, task, … */
    sequences: Record<string, number>
    /** The id of the last event of each of these subjects. */
    latest: Record<string, string>
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** All connections, also removed ones, by connectionId, then by number. */
    connections: Array<{
      /** The connection's token, as in subjects. */
      connection: string
      /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
      connectionId: string
      /** Tells connections of one connectionId apart, from 1. */
      number: number
      /** What b.well last said. */
      state: {
        /** b.well's word for the state: CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED, ERROR. Open: UNKNOWN is a word we do not know. */
        status?: string
        /** The word b.well sent, where status is UNKNOWN. */
        statusRaw?: string
        /** How the source is reached: PROA, DIRECT_IAS, INDIRECT_IAS. Open, as status is. It decides how a member reconnects. */
        integrationType?: string
        /** The word b.well sent, where integrationType is UNKNOWN. */
        integrationTypeRaw?: string
        /** How a member signs in: BASIC, OAUTH, IDENTITY. Open, as status is. */
        category?: string
        /** The word b.well sent, where category is UNKNOWN. */
        categoryRaw?: string
        /** What the source is: CLINICAL, INSURANCE, LAB, PHARMACY, PRACTITIONER. Open, as status is. */
        type?: string
        /** The word b.well sent, where type is UNKNOWN. */
        typeRaw?: string
        /** How far retrieving is: PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING, DATA_DELETED. Open, as status is. */
        syncStatus?: string
        /** The word b.well sent, where syncStatus is UNKNOWN. */
        syncStatusRaw?: string
        /** Codes of what went wrong while retrieving, sorted. */
        syncErrors?: Array<string>
        /** When the status last changed, by b.well's clock. */
        statusUpdated?: string
        /** When the connection was made, by b.well's clock. */
        created?: string
        /** When records were last retrieved, by b.well's clock. */
        lastSynced?: string
      }
      /** When we first saw it. */
      firstSeen: string
      /** Since when it is CONNECTED. Absent while it is not. */
      connectedSince?: string
      /** While the status is unknown: since when it was CONNECTED before. Absent if it was not, or the status is known. */
      wasConnectedSince?: string
      /** Since when it has this broken status. Absent while it is not broken. */
      brokenSince?: string
      /** When the break was confirmed. Absent until it is. */
      confirmedAt?: string
      /** When b.well stopped listing it. Absent while it is listed. */
      removedAt?: string
      /** The end that connection.expiring told. Absent while it is broken, or nothing was told. */
      expiresAt?: string
      /** When that was told last. Absent as expiresAt is. */
      warnedAt?: string
      /** The number of the latest break; 0 if it never broke. */
      episode: number
      /** Since when the latest break lasts. Absent if it never broke, or was removed and came back since and has not broken again. */
      episodeSince?: string
      /** How often it came and went in this episode. */
      flapCount: number
      /** It was broken when we first looked, and has not been CONNECTED since. */
      firstSight?: boolean
    }>
    /** The member's newest network search; null if there is none or it is not read yet. */
    task: {
      /** b.well's id of the search. */
      taskId: string
      /** A FHIR task status: ready, in-progress, completed, failed, rejected, … Open. */
      status: string
      /** The word b.well sent, where status is unknown. */
      statusRaw?: string
      /** Why, in b.well's words, where it says. */
      reason?: string
      /** When it last changed, by b.well's clock. */
      updated?: string
    } | null
    /** The member's consent to records by individual access (IAS). */
    consent: {
      /** Whether it was read at all. Not yet read is not none. */
      read: boolean
      /** b.well's id of the consent; absent if there is none. */
      consentId?: string
      /** What holds. none: never asked, or no consent in force. Absent until it was read. */
      provision?: "permit" | "deny" | "none"
      /** When it was given or ended, by b.well's clock. */
      dateTime?: string
      /** true: since the connector looks there was a permit, this one or one before. A denial then ends access. Absent if there was none. */
      permitted?: boolean
    }
    /** The sources that are recommended at present. */
    recommendations: Array<{
      /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
      memberId: string
      /** The connectionId that b.well would give a connection to this source. */
      alias: string
      /** What prompt.start takes to begin a connection to this source. No identity. */
      offerId: string
    }>
    /** Whether we can see the member. */
    observation: {
      /** When the first complete answer came. */
      started?: string
      /** When an answer was last complete and told something new. */
      lastComplete?: string
      /** Since when the member cannot be seen. Absent while they can. */
      lostSince?: string
      /** Why the member cannot be seen: reauthenticate, forbidden, unreachable, identity_mismatch. Open. */
      reason?: string
    }
  }
  /** A member cannot be seen. We cannot ask b.well about the member any more. It says nothing about their connections. */
  'smartconnect.observation.lost.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** Why: reauthenticate, forbidden, unreachable, identity_mismatch; enrolled; recovered. Open. */
    reason: string
    /** When an answer was last complete and told something new. Absent if none was. */
    lastComplete?: string
    /** What helps: the member signs in again, or nothing is asked. */
    action: "sign_in" | "none"
  }
  /** A member is seen again. A complete answer about the member came after observation.lost. */
  'smartconnect.observation.resumed.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** Why: reauthenticate, forbidden, unreachable, identity_mismatch; enrolled; recovered. Open. */
    reason: string
    /** When an answer was last complete and told something new. Absent if none was. */
    lastComplete?: string
    /** What helps: the member signs in again, or nothing is asked. */
    action: "sign_in" | "none"
  }
  /** A member is observed. The first complete answer about the member came. Baselines come with it. */
  'smartconnect.observation.started.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** Why: reauthenticate, forbidden, unreachable, identity_mismatch; enrolled; recovered. Open. */
    reason: string
    /** When an answer was last complete and told something new. Absent if none was. */
    lastComplete?: string
    /** What helps: the member signs in again, or nothing is asked. */
    action: "sign_in" | "none"
  }
  /** b.well cannot be seen. So many polls fail that the fault lies with b.well or with us. Nobody is asked anything meanwhile. */
  'smartconnect.observer.lost.v1': {
    /** What is wrong, or why it is over. Open. */
    reason: string
    /** The share of polls that fails. */
    share: number
    /** Since when. */
    since: string
  }
  /** b.well is seen again. Polls succeed again. */
  'smartconnect.observer.resumed.v1': {
    /** What is wrong, or why it is over. Open. */
    reason: string
    /** The share of polls that fails. */
    share: number
    /** Since when. */
    since: string
  }
  /** A member knows. The member has seen the prompt. It stays open; reminders end. */
  'smartconnect.prompt.acknowledged.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
    connectionId: string
    /** Names this opening, for prompt.start: the connection token and the number of the opening. No identity. */
    promptId: string
    /** How the member reconnects. oauth: a login page; activate_direct: one tap; unknown: b.well did not say how. */
    action: "oauth" | "activate_direct" | "reenter_credentials" | "verify_identity" | "restore_consent" | "reconnect_in_app" | "sign_in" | "wait" | "none" | "unknown"
    /** Why it was opened, or why it was closed: expired, disconnected, deleted, error, connected, removed, consent_ended, superseded, … Open. */
    reason: string
    /** How much it matters. optional: the member did it, list it in the app. */
    urgency: "required" | "optional"
    /** Whether the member should be pushed now. False: show it in the app only. */
    notify: boolean
    /** Why notify is false: policy (nobody is pushed for this status), pushed_before (in the same episode), weekly_cap. Absent where notify is true, and when a prompt is acknowledged or closed. Open. */
    notPushed?: string
    /** The connection's status when the prompt was opened, b.well's word. Open. */
    connectionStatus: string
    /** PROA, DIRECT_IAS or INDIRECT_IAS. Open; absent if b.well sent none. */
    integrationType?: string
    /** When the prompt was opened. */
    openedAt: string
    /** 0 for the opening, then 1, 2, … */
    reminder: number
    /** How often the connection came and went in this episode. */
    flapCount: number
    /** Shared by prompts that are opened or reminded of together, so that one message can tell of all: the promptId of the first, and which reminder that is, if it is one. Absent if alone. */
    batch?: string
    /** Quiet hours: do not push before. A hint; absent outside of them. */
    notBefore?: string
    /** The member asked to be reminded then. */
    snoozedUntil?: string
    /** When the prompt was closed. Absent while it is open. */
    closedAt?: string
    /** Whole seconds from the break that began the episode to the recovery. Of prompts of one episode each counts from that break, so they are not to be added up. */
    downtime?: number
  }
  /** Asking ended. The member did not reconnect in the time given. They are not asked again for this break. */
  'smartconnect.prompt.expired.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
    connectionId: string
    /** Names this opening, for prompt.start: the connection token and the number of the opening. No identity. */
    promptId: string
    /** How the member reconnects. oauth: a login page; activate_direct: one tap; unknown: b.well did not say how. */
    action: "oauth" | "activate_direct" | "reenter_credentials" | "verify_identity" | "restore_consent" | "reconnect_in_app" | "sign_in" | "wait" | "none" | "unknown"
    /** Why it was opened, or why it was closed: expired, disconnected, deleted, error, connected, removed, consent_ended, superseded, … Open. */
    reason: string
    /** How much it matters. optional: the member did it, list it in the app. */
    urgency: "required" | "optional"
    /** Whether the member should be pushed now. False: show it in the app only. */
    notify: boolean
    /** Why notify is false: policy (nobody is pushed for this status), pushed_before (in the same episode), weekly_cap. Absent where notify is true, and when a prompt is acknowledged or closed. Open. */
    notPushed?: string
    /** The connection's status when the prompt was opened, b.well's word. Open. */
    connectionStatus: string
    /** PROA, DIRECT_IAS or INDIRECT_IAS. Open; absent if b.well sent none. */
    integrationType?: string
    /** When the prompt was opened. */
    openedAt: string
    /** 0 for the opening, then 1, 2, … */
    reminder: number
    /** How often the connection came and went in this episode. */
    flapCount: number
    /** Shared by prompts that are opened or reminded of together, so that one message can tell of all: the promptId of the first, and which reminder that is, if it is one. Absent if alone. */
    batch?: string
    /** Quiet hours: do not push before. A hint; absent outside of them. */
    notBefore?: string
    /** The member asked to be reminded then. */
    snoozedUntil?: string
    /** When the prompt was closed. Absent while it is open. */
    closedAt: string
    /** Whole seconds from the break that began the episode to the recovery. Of prompts of one episode each counts from that break, so they are not to be added up. */
    downtime?: number
  }
  /** A member should reconnect. Ask the member to reconnect one connection. Push if notify, list it in the app in any case. */
  'smartconnect.prompt.opened.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
    connectionId: string
    /** Names this opening, for prompt.start: the connection token and the number of the opening. No identity. */
    promptId: string
    /** How the member reconnects. oauth: a login page; activate_direct: one tap; unknown: b.well did not say how. */
    action: "oauth" | "activate_direct" | "reenter_credentials" | "verify_identity" | "restore_consent" | "reconnect_in_app" | "sign_in" | "wait" | "none" | "unknown"
    /** Why it was opened, or why it was closed: expired, disconnected, deleted, error, connected, removed, consent_ended, superseded, … Open. */
    reason: string
    /** How much it matters. optional: the member did it, list it in the app. */
    urgency: "required" | "optional"
    /** Whether the member should be pushed now. False: show it in the app only. */
    notify: boolean
    /** Why notify is false: policy (nobody is pushed for this status), pushed_before (in the same episode), weekly_cap. Absent where notify is true, and when a prompt is acknowledged or closed. Open. */
    notPushed?: string
    /** The connection's status when the prompt was opened, b.well's word. Open. */
    connectionStatus: string
    /** PROA, DIRECT_IAS or INDIRECT_IAS. Open; absent if b.well sent none. */
    integrationType?: string
    /** When the prompt was opened. */
    openedAt: string
    /** 0 for the opening, then 1, 2, … */
    reminder: number
    /** How often the connection came and went in this episode. */
    flapCount: number
    /** Shared by prompts that are opened or reminded of together, so that one message can tell of all: the promptId of the first, and which reminder that is, if it is one. Absent if alone. */
    batch?: string
    /** Quiet hours: do not push before. A hint; absent outside of them. */
    notBefore?: string
    /** The member asked to be reminded then. */
    snoozedUntil?: string
    /** When the prompt was closed. Absent while it is open. */
    closedAt?: string
    /** Whole seconds from the break that began the episode to the recovery. Of prompts of one episode each counts from that break, so they are not to be added up. */
    downtime?: number
  }
  /** A member should be reminded. The prompt still stands and the member was not heard of. */
  'smartconnect.prompt.reminded.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
    connectionId: string
    /** Names this opening, for prompt.start: the connection token and the number of the opening. No identity. */
    promptId: string
    /** How the member reconnects. oauth: a login page; activate_direct: one tap; unknown: b.well did not say how. */
    action: "oauth" | "activate_direct" | "reenter_credentials" | "verify_identity" | "restore_consent" | "reconnect_in_app" | "sign_in" | "wait" | "none" | "unknown"
    /** Why it was opened, or why it was closed: expired, disconnected, deleted, error, connected, removed, consent_ended, superseded, … Open. */
    reason: string
    /** How much it matters. optional: the member did it, list it in the app. */
    urgency: "required" | "optional"
    /** Whether the member should be pushed now. False: show it in the app only. */
    notify: boolean
    /** Why notify is false: policy (nobody is pushed for this status), pushed_before (in the same episode), weekly_cap. Absent where notify is true, and when a prompt is acknowledged or closed. Open. */
    notPushed?: string
    /** The connection's status when the prompt was opened, b.well's word. Open. */
    connectionStatus: string
    /** PROA, DIRECT_IAS or INDIRECT_IAS. Open; absent if b.well sent none. */
    integrationType?: string
    /** When the prompt was opened. */
    openedAt: string
    /** 0 for the opening, then 1, 2, … */
    reminder: number
    /** How often the connection came and went in this episode. */
    flapCount: number
    /** Shared by prompts that are opened or reminded of together, so that one message can tell of all: the promptId of the first, and which reminder that is, if it is one. Absent if alone. */
    batch?: string
    /** Quiet hours: do not push before. A hint; absent outside of them. */
    notBefore?: string
    /** The member asked to be reminded then. */
    snoozedUntil?: string
    /** When the prompt was closed. Absent while it is open. */
    closedAt?: string
    /** Whole seconds from the break that began the episode to the recovery. Of prompts of one episode each counts from that break, so they are not to be added up. */
    downtime?: number
  }
  /** A member is connected again. The connection works. Take the prompt away. */
  'smartconnect.prompt.resolved.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
    connectionId: string
    /** Names this opening, for prompt.start: the connection token and the number of the opening. No identity. */
    promptId: string
    /** How the member reconnects. oauth: a login page; activate_direct: one tap; unknown: b.well did not say how. */
    action: "oauth" | "activate_direct" | "reenter_credentials" | "verify_identity" | "restore_consent" | "reconnect_in_app" | "sign_in" | "wait" | "none" | "unknown"
    /** Why it was opened, or why it was closed: expired, disconnected, deleted, error, connected, removed, consent_ended, superseded, … Open. */
    reason: string
    /** How much it matters. optional: the member did it, list it in the app. */
    urgency: "required" | "optional"
    /** Whether the member should be pushed now. False: show it in the app only. */
    notify: boolean
    /** Why notify is false: policy (nobody is pushed for this status), pushed_before (in the same episode), weekly_cap. Absent where notify is true, and when a prompt is acknowledged or closed. Open. */
    notPushed?: string
    /** The connection's status when the prompt was opened, b.well's word. Open. */
    connectionStatus: string
    /** PROA, DIRECT_IAS or INDIRECT_IAS. Open; absent if b.well sent none. */
    integrationType?: string
    /** When the prompt was opened. */
    openedAt: string
    /** 0 for the opening, then 1, 2, … */
    reminder: number
    /** How often the connection came and went in this episode. */
    flapCount: number
    /** Shared by prompts that are opened or reminded of together, so that one message can tell of all: the promptId of the first, and which reminder that is, if it is one. Absent if alone. */
    batch?: string
    /** Quiet hours: do not push before. A hint; absent outside of them. */
    notBefore?: string
    /** The member asked to be reminded then. */
    snoozedUntil?: string
    /** When the prompt was closed. Absent while it is open. */
    closedAt: string
    /** Whole seconds from the break that began the episode to the recovery. Of prompts of one episode each counts from that break, so they are not to be added up. */
    downtime: number
  }
  /** A prompt no longer holds. Take the prompt away: reconnecting would not help any more, or another prompt takes its place. */
  'smartconnect.prompt.withdrawn.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the connection, which names a data source. The app needs it for its own SDK. */
    connectionId: string
    /** Names this opening, for prompt.start: the connection token and the number of the opening. No identity. */
    promptId: string
    /** How the member reconnects. oauth: a login page; activate_direct: one tap; unknown: b.well did not say how. */
    action: "oauth" | "activate_direct" | "reenter_credentials" | "verify_identity" | "restore_consent" | "reconnect_in_app" | "sign_in" | "wait" | "none" | "unknown"
    /** Why it was opened, or why it was closed: expired, disconnected, deleted, error, connected, removed, consent_ended, superseded, … Open. */
    reason: string
    /** How much it matters. optional: the member did it, list it in the app. */
    urgency: "required" | "optional"
    /** Whether the member should be pushed now. False: show it in the app only. */
    notify: boolean
    /** Why notify is false: policy (nobody is pushed for this status), pushed_before (in the same episode), weekly_cap. Absent where notify is true, and when a prompt is acknowledged or closed. Open. */
    notPushed?: string
    /** The connection's status when the prompt was opened, b.well's word. Open. */
    connectionStatus: string
    /** PROA, DIRECT_IAS or INDIRECT_IAS. Open; absent if b.well sent none. */
    integrationType?: string
    /** When the prompt was opened. */
    openedAt: string
    /** 0 for the opening, then 1, 2, … */
    reminder: number
    /** How often the connection came and went in this episode. */
    flapCount: number
    /** Shared by prompts that are opened or reminded of together, so that one message can tell of all: the promptId of the first, and which reminder that is, if it is one. Absent if alone. */
    batch?: string
    /** Quiet hours: do not push before. A hint; absent outside of them. */
    notBefore?: string
    /** The member asked to be reminded then. */
    snoozedUntil?: string
    /** When the prompt was closed. Absent while it is open. */
    closedAt: string
    /** Whole seconds from the break that began the episode to the recovery. Of prompts of one episode each counts from that break, so they are not to be added up. */
    downtime?: number
  }
  /** A source was found. The network search found a source to which the member is not connected. */
  'smartconnect.recommendation.found.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** The connectionId that b.well would give a connection to this source. */
    alias: string
    /** What prompt.start takes to begin a connection to this source. No identity. */
    offerId: string
  }
  /** A source is no longer offered. The source is recommended no more, or the member is connected to it. */
  'smartconnect.recommendation.withdrawn.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** The connectionId that b.well would give a connection to this source. */
    alias: string
    /** What prompt.start takes to begin a connection to this source. No identity. */
    offerId: string
  }
  /** A silence is over. The silence ended by itself or by an operator. */
  'smartconnect.silence.ended.v1': {
    /** What is silenced: member, source, integrationType or reason, each with a token or a word. All must match. */
    scope: Record<string, string>
    /** When it ends by itself. */
    until: string
    /** The operator who set it. */
    by: string
    /** Why, in the operator's words. */
    reason: string
  }
  /** An operator silenced prompts. Prompts that the scope matches are held until then. */
  'smartconnect.silence.set.v1': {
    /** What is silenced: member, source, integrationType or reason, each with a token or a word. All must match. */
    scope: Record<string, string>
    /** When it ends by itself. */
    until: string
    /** The operator who set it. */
    by: string
    /** Why, in the operator's words. */
    reason: string
  }
  /** A source fails for many. A data source fails for so many members that it is not theirs to mend. Prompts for it are held. */
  'smartconnect.source.degraded.v1': {
    /** What is wrong, or why it is over. Open. */
    reason: string
    /** Members who are seen and whose connection to this source is alive. */
    members: number
    /** The share of them that fails. */
    share: number
  }
  /** A source works again. The data source works again. Prompts for it are no longer held. */
  'smartconnect.source.restored.v1': {
    /** What is wrong, or why it is over. Open. */
    reason: string
    /** Members who are seen and whose connection to this source is alive. */
    members: number
    /** The share of them that fails. */
    share: number
  }
  /** Prompts are held. So many members changed at once that somebody should look before any of them is asked. */
  'smartconnect.storm.held.v1': {
    /** What is held for, or why it was let go. Open. */
    reason: string
    /** Members who changed at once. */
    changed: number
    /** Members in all. */
    members: number
    /** Who released it. Absent while it is held. */
    by?: string
  }
  /** Prompts are no longer held. An operator looked and let the prompts go. */
  'smartconnect.storm.released.v1': {
    /** What is held for, or why it was let go. Open. */
    reason: string
    /** Members who changed at once. */
    changed: number
    /** Members in all. */
    members: number
    /** Who released it. Absent while it is held. */
    by?: string
  }
  /** The search at the first look. How the member's newest network search stood when the member was first observed. */
  'smartconnect.task.baseline.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the search. */
    taskId: string
    /** The status before; none if there was no search. Absent in a baseline. Open, as current is. */
    previous?: string
    /** A FHIR task status: ready, in-progress, completed, failed, rejected, … Open: unknown is a word we do not know. */
    current: string
    /** The word b.well sent, where current is unknown. */
    currentRaw?: string
    /** Why, in b.well's words, where it says. */
    reason?: string
  }
  /** The search changed. The member's newest network search has another status, or is another one. */
  'smartconnect.task.status_changed.v1': {
    /** b.well's id of the member. Identity: it is in bodies only, never in a subject or a header. */
    memberId: string
    /** b.well's id of the search. */
    taskId: string
    /** The status before; none if there was no search. Absent in a baseline. Open, as current is. */
    previous?: string
    /** A FHIR task status: ready, in-progress, completed, failed, rejected, … Open: unknown is a word we do not know. */
    current: string
    /** The word b.well sent, where current is unknown. */
    currentRaw?: string
    /** Why, in b.well's words, where it says. */
    reason?: string
  }
}

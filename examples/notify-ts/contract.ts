// Reads what comes from the stream, and refuses what is no event of the
// contract: a service that acts on half an event pushes nonsense.
import type { JsMsg } from '@nats-io/jetstream'
import type { Events } from './events.js'
import { type Shape, shapes } from './shapes.js'

/** A message that no delivery will make readable. Its words quote nothing of the body. */
export class Unreadable extends Error {}

export interface Envelope {
  id: string
  type: string
  member: string // token
  sequence: number
  recorded: number // milliseconds, as all times here
  expires?: number
  replay: boolean // a copy made by a replay
}

/** The attributes of a message; they must say what its subject says: <prefix>.<kind>.<tokens>. */
export function envelope(m: JsMsg, prefix: string): Envelope {
  const get = (name: string) => m.headers?.get(name) ?? ''
  for (const name of ['ce-id', 'ce-source', 'ce-type', 'ce-dataschema', 'ce-dataclassification', 'ce-dataregulation']) {
    if (get(name) === '') throw new Unreadable(`no ${name}`)
  }
  if (get('ce-specversion') !== '1.0') throw new Unreadable('ce-specversion is not 1.0')
  if (get('ce-datacontenttype') !== 'application/json') throw new Unreadable('ce-datacontenttype is not application/json')
  if (!/^[1-9][0-9]*$/.test(get('ce-sequence'))) throw new Unreadable('ce-sequence is no positive number')
  const type = get('ce-type')
  if (!/^smartconnect\.[a-z]+\.[a-z_]+\.v[1-9][0-9]*$/.test(type)) throw new Unreadable('ce-type is no type of the contract')
  const kind = type.split('.')[1]!
  if (m.subject !== [prefix, kind, get('ce-subject')].join('.')) throw new Unreadable('ce-type or ce-subject is not what its subject says')
  const time = (name: string) => {
    const at = Date.parse(get(name))
    if (Number.isNaN(at)) throw new Unreadable(`${name} is no time`)
    return at
  }
  time('ce-time')
  return {
    id: get('ce-id'),
    type,
    member: get('ce-subject').split('.')[0] ?? '',
    sequence: Number(get('ce-sequence')),
    recorded: time('ce-recordedtime'),
    expires: get('ce-expirytime') === '' ? undefined : time('ce-expirytime'),
    replay: get('ce-replay') !== '',
  }
}

/** What is wrong with a value, if anything is. */
function amiss(shape: Shape, value: unknown, at: string): string | undefined {
  if (shape === 'id') return typeof value === 'string' && value !== '' ? undefined : `no ${at}`
  if (shape === 'time') return typeof value === 'string' && !Number.isNaN(Date.parse(value)) ? undefined : `${at} is no time`
  if (typeof shape === 'string') return typeof value === shape ? undefined : `no ${at}`
  if ('words' in shape) return shape.words.includes(value as string) ? undefined : `${at} is none of the words of its closed list`
  if ('list' in shape) return Array.isArray(value) ? value.map((item) => amiss(shape.list, item, at)).find((why) => why) : `no ${at}`
  if (value === null && shape.orNull) return undefined
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return `no ${at}`
  const fields = value as { [name: string]: unknown }
  return Object.entries(shape.fields).map(([name, inner]) => amiss(inner, fields[name], name)).find((why) => why)
}

/** The data of an event of a type, once it is known to be some. */
export function data<T extends keyof Events>(type: T, body: { json<V>(): V }): Events[T] {
  let value: unknown
  try {
    value = body.json()
  } catch {
    throw new Unreadable(`the body of ${type} is no JSON`)
  }
  const why = amiss(shapes[type]!, value, 'object')
  if (why) throw new Unreadable(`the body of ${type}: ${why}`)
  return value as Events[T]
}

/** Whether this service was built with the contract of a type. */
export function known(type: string): type is keyof Events {
  return Object.hasOwn(shapes, type)
}

// A small notification service: it prints what it would push. Run it beside
// connector dev:   npm ci && npm run build && npm start
import { connect } from '@nats-io/transport-node'
import { AckPolicy, JetStreamApiCodes, JetStreamApiError, jetstream, jetstreamManager, type JsMsg } from '@nats-io/jetstream'
import { data, type Envelope, envelope, known, Unreadable } from './contract.js'
import type { Events } from './events.js'

const stream = 'SC_EVENTS'
const prefix = 'sc.v1'
const durable = 'notify-ts'
const dayOld = 24 * 3600_000

const nc = await connect({ servers: process.env.NATS_URL ?? 'nats://127.0.0.1:4222', name: durable })
const jsm = await jetstreamManager(nc)

// Made only if it is not there: operators may have moved it, and one that
// exists with another beginning cannot be added.
try {
  await jsm.consumers.info(stream, durable)
} catch (err) {
  if (!(err instanceof JetStreamApiError && err.code === JetStreamApiCodes.ConsumerNotFound)) throw err
  await jsm.consumers.add(stream, {
    durable_name: durable,
    ack_policy: AckPolicy.Explicit,
    filter_subjects: [`${prefix}.prompt.*.*`, `${prefix}.access.*`],
    max_ack_pending: 1, // one at a time: order holds over failures, restarts and replicas
  })
}

/** The last message by subject. A real service keeps it, and the ids it pushed, in its database. */
const last = new Map<string, { seq: number; stored: bigint; sequence: number }>()

/** What a durable that was moved reads again: events connector events replay --to-consumer tells of in its metadata. */
let moved = { until: 0, stored: 0 }
let delivered = 0
async function again(m: JsMsg): Promise<boolean> {
  if (m.info.deliverySequence <= delivered || delivered === 0) {
    const of = (await jsm.consumers.info(stream, durable)).config.metadata ?? {}
    moved = { until: Number(of['smartconnect.replay.until'] ?? 0), stored: Date.parse(of['smartconnect.replay.stored'] ?? '') }
  }
  delivered = m.info.deliverySequence
  return m.seq <= moved.until && m.time.getTime() <= moved.stored
}

/** What is asked of a member, as the head says; undefined if nothing is known of them. */
async function agenda(member: string): Promise<Events['smartconnect.agenda.snapshot.v1'] | undefined> {
  const head = await jsm.streams.getMessage(stream, { last_by_subj: `${prefix}.agenda.${member}` })
  if (!head || head.data.length === 0) return undefined
  const type = head.header.get('ce-type')
  if (type !== 'smartconnect.agenda.snapshot.v1') throw new Error(`the agenda is a ${type}`)
  try {
    return data(type, head)
  } catch {
    throw new Error('the agenda cannot be read') // the event in hand can, so it comes again
  }
}

async function promptStands(member: string, promptId: string): Promise<boolean> {
  return (await agenda(member))?.prompts.some((p) => p.promptId === promptId) ?? false
}

/** Whether the end of access still asks for consent: a later one has an event of its own. */
async function accessIsOver(e: Envelope): Promise<boolean> {
  const access = (await agenda(e.member))?.access
  return !!access && !access.permittedAt && !access.restoredAt && Date.parse(access.endedAt) <= e.recorded
}

/** Read again, or so old that nobody may be pushed for it. */
function noNews(e: Envelope): boolean {
  return e.replay || Date.now() - e.recorded > dayOld || (e.expires !== undefined && e.expires < Date.now())
}

async function handle(m: JsMsg): Promise<void> {
  const readAgain = await again(m)
  const e = envelope(m, prefix)
  e.replay ||= readAgain
  const before = last.get(m.subject)
  if (!e.replay && before) {
    // A restored stream gives the same places to others, which it stores later.
    if (m.seq <= before.seq && m.timestampNanos <= before.stored) return // a double
    if (e.sequence !== before.sequence + 1) console.log(`gap before ${e.id}: read the member's agenda`)
  }
  switch (e.type) {
    case 'smartconnect.prompt.opened.v1':
    case 'smartconnect.prompt.reminded.v1': {
      const p = data(e.type, m)
      if (p.notify && !noNews(e) && (await promptStands(e.member, p.promptId))) console.log(`push ${e.id} please reconnect: ${p.action}`)
      break
    }
    case 'smartconnect.prompt.resolved.v1':
    case 'smartconnect.prompt.withdrawn.v1':
    case 'smartconnect.prompt.expired.v1': {
      const p = data(e.type, m)
      console.log(`take back ${p.promptId} ${p.reason}`)
      break
    }
    case 'smartconnect.access.ended.v1': {
      const a = data(e.type, m)
      if (!noNews(e) && (await accessIsOver(e))) console.log(`push ${e.id} access ended: ${a.action} for ${a.connections.length} connections`)
      break
    }
    default: // the contract lets types be added, which are to be passed over; a new version of one means something else
      if (!known(e.type) && !e.type.endsWith('.v1')) throw new Unreadable(`unknown type ${e.type.slice(0, 80)}`)
      console.error(`passed over: ${e.type}`)
  }
  if (!e.replay) last.set(m.subject, { seq: m.seq, stored: m.timestampNanos, sequence: e.sequence })
}

const consumer = await jetstream(nc).consumers.get(stream, durable)
const messages = await consumer.consume({ max_messages: 1 })
process.once('SIGINT', () => void messages.close())
for await (const m of messages) {
  try {
    await handle(m)
    m.ack()
  } catch (err) {
    // What is no event never gets better; what fails for long must not hold up the rest.
    const unreadable = err instanceof Unreadable
    const hopeless = unreadable || m.info.deliveryCount >= 20
    const why = unreadable ? err.message : 'its handler fails'
    console.error(`${m.subject} ${m.seq}: ${hopeless ? 'put aside' : 'comes again'}: ${why}`)
    if (hopeless) m.term(why)
    else m.nak(Math.min(1000 * 2 ** m.info.deliveryCount, 300_000))
  }
}
await nc.drain()

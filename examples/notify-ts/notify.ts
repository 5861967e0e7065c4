// A small notification service: it prints what it would push. Run it beside
// connector dev:   npm ci && npm run build && npm start
import { connect, type MsgHdrs } from '@nats-io/transport-node'
import { AckPolicy, jetstream, jetstreamManager, type JsMsg } from '@nats-io/jetstream'
import type { Events } from './events.js'

const stream = 'SC_EVENTS'
const durable = 'notify-ts'
const dayOld = 24 * 3600_000

const nc = await connect({ servers: process.env.NATS_URL ?? 'nats://127.0.0.1:4222', name: durable })
const jsm = await jetstreamManager(nc)
await jsm.consumers.add(stream, {
  durable_name: durable,
  ack_policy: AckPolicy.Explicit,
  filter_subjects: ['sc.v1.prompt.*.*', 'sc.v1.access.*'],
  max_ack_pending: 1, // one at a time: order holds over failures, restarts and replicas
})

/** The last sequence by subject. A real service keeps it, and the ids it pushed, in its database. */
const last = new Map<string, number>()

/** Whether the member is still asked this: the head says. */
async function current(member: string, promptId: string): Promise<boolean> {
  const head = await jsm.streams.getMessage(stream, { last_by_subj: `sc.v1.agenda.${member}` })
  return head?.json<Events['smartconnect.agenda.snapshot.v1']>().prompts.some((p) => p.promptId === promptId) ?? false
}

/** A copy made by a replay, or so old that nobody may be pushed for it. */
function noNews(h: MsgHdrs): boolean {
  const expires = h.get('ce-expirytime')
  return h.has('ce-replay') || Date.now() - Date.parse(h.get('ce-recordedtime')) > dayOld || (expires !== '' && Date.parse(expires) < Date.now())
}

async function handle(m: JsMsg): Promise<void> {
  const h = m.headers
  const id = h?.get('ce-id')
  const sequence = Number(h?.get('ce-sequence'))
  if (!h || !id || h.get('ce-specversion') !== '1.0' || !(sequence > 0)) throw new SyntaxError('no event of the contract')
  const before = last.get(m.subject)
  if (before !== undefined && sequence <= before) return // a double
  if (before !== undefined && sequence > before + 1) console.log(`gap before ${id}: read the member's agenda`)
  const member = h.get('ce-subject').split('.')[0] ?? ''
  switch (h.get('ce-type')) {
    case 'smartconnect.prompt.opened.v1':
    case 'smartconnect.prompt.reminded.v1': {
      const p = m.json<Events['smartconnect.prompt.opened.v1']>()
      if (p.notify && !noNews(h) && (await current(member, p.promptId))) console.log(`push ${id} please reconnect: ${p.action}`)
      break
    }
    case 'smartconnect.prompt.resolved.v1':
    case 'smartconnect.prompt.withdrawn.v1':
    case 'smartconnect.prompt.expired.v1': {
      const p = m.json<Events['smartconnect.prompt.resolved.v1']>()
      console.log(`take back ${p.promptId} ${p.reason}`)
      break
    }
    case 'smartconnect.access.ended.v1': {
      const a = m.json<Events['smartconnect.access.ended.v1']>()
      if (!noNews(h)) console.log(`push ${id} access ended: ${a.action} for ${a.connections.length} connections`)
      break
    }
    default: // a type that is not ours to act on, or newer than this service
      console.error(`not handled: ${h.get('ce-type')}`)
  }
  last.set(m.subject, sequence)
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
    const hopeless = err instanceof SyntaxError || m.info.deliveryCount >= 20
    console.error(`${m.subject} ${m.seq}: ${hopeless ? 'put aside' : 'comes again'}`)
    if (hopeless) m.term(err instanceof SyntaxError ? 'no event of the contract' : 'its handler failed too often')
    else m.nak(Math.min(1000 * 2 ** m.info.deliveryCount, 300_000))
  }
}
await nc.drain()

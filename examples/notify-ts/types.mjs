// Writes from the JSON Schemas, by the name of the type: events.ts, the data of
// each event, and shapes.ts, what of it must be there, which types cannot check
// while the service runs.   npm run types [folder of the schemas]
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

const folder = process.argv[2] ?? '../../schemas'

// tsType writes a schema as a type. Schemas are closed for who writes events;
// who reads them must expect more fields, and types do not forbid any.
function tsType(s, root, pad) {
  if (s.$ref) return tsType(root.$defs[s.$ref.split('/').pop()], root, pad)
  if (s.const !== undefined) return JSON.stringify(s.const)
  if (s.enum) return s.enum.map((v) => JSON.stringify(v)).join(' | ')
  const all = [s.type].flat().map((type) => {
    switch (type) {
      case 'object': {
        if (typeof s.additionalProperties === 'object') return `Record<string, ${tsType(s.additionalProperties, root, pad)}>`
        const fields = Object.entries(s.properties ?? {}).map(([name, field]) => {
          const about = field.description ? `${pad}  /** ${field.description.replaceAll('*/', '* /')} */\n` : ''
          return `${about}${pad}  ${name}${s.required?.includes(name) ? '' : '?'}: ${tsType(field, root, pad + '  ')}\n`
        })
        return `{\n${fields.join('')}${pad}}`
      }
      case 'array':
        return `Array<${tsType(s.items, root, pad)}>`
      case 'integer':
        return 'number'
      default:
        return type // string, number, boolean, null
    }
  })
  return all.join(' | ')
}

// shape writes what of a schema must be there: the name of a JSON type ('id' is a
// text that is not empty), a closed list of words, a list of a shape, or fields.
function shape(s, root, name) {
  if (s.$ref) return shape(root.$defs[s.$ref.split('/').pop()], root, name)
  if (s.enum) return { words: s.enum }
  const [type, ...more] = [s.type].flat()
  const orNull = more.includes('null') ? { orNull: true } : {}
  switch (type) {
    case 'array':
      return { list: shape(s.items, root, '') }
    case 'object':
      return { ...orNull, fields: Object.fromEntries((s.required ?? []).map((field) => [field, shape(s.properties[field], root, field)])) }
    case 'string':
      return name.endsWith('Id') || s.minLength > 0 ? 'id' : s.format === 'date-time' ? 'time' : 'string'
    default:
      return type === 'integer' ? 'number' : type
  }
}

let shapes = `// Written by types.mjs from the JSON Schemas. Do not edit.

export type Shape =
  | 'id' | 'time' | 'string' | 'number' | 'boolean'
  | { words: readonly string[] }
  | { list: Shape }
  | { fields: { readonly [name: string]: Shape }; orNull?: boolean }

/** What must be there in the data of each event type. */
export const shapes: { readonly [type: string]: Shape } = {
`

let out = '// Written by types.mjs from the JSON Schemas. Do not edit.\n\n/** The data of each event type. */\nexport interface Events {\n'
for (const file of readdirSync(folder).filter((f) => /^smartconnect\.\w+\.\w+\.v\d+\.json$/.test(f)).sort()) {
  const schema = JSON.parse(readFileSync(`${folder}/${file}`, 'utf8'))
  shapes += `  '${file.replace(/\.json$/, '')}': ${JSON.stringify(shape(schema, schema, ''))},\n`
  out += `  /** ${schema.title}. ${schema.description} */\n  '${file.replace(/\.json$/, '')}': ${tsType(schema, schema, '  ')}\n`
}
writeFileSync('events.ts', out + '}\n')
writeFileSync('shapes.ts', shapes + '}\n')

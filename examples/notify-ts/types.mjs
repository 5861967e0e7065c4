// Writes events.ts from the JSON Schemas: the data of each event type, by the
// name of the type.   npm run types [folder of the schemas]
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

let out = '// Written by types.mjs from the JSON Schemas. Do not edit.\n\n/** The data of each event type. */\nexport interface Events {\n'
for (const file of readdirSync(folder).filter((f) => /^smartconnect\.\w+\.\w+\.v\d+\.json$/.test(f)).sort()) {
  const schema = JSON.parse(readFileSync(`${folder}/${file}`, 'utf8'))
  out += `  /** ${schema.title}. ${schema.description} */\n  '${file.replace(/\.json$/, '')}': ${tsType(schema, schema, '  ')}\n`
}
writeFileSync('events.ts', out + '}\n')

// Holds values to the schemas with a validator that is not the connector's own.
// Standard input has a line per value: {what, schema, value, ok}. A value of
// envelope.json is a whole event: its data is held to the schema it names.
// It prints what is not as expected, and last how many values it saw.
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const [dir] = process.argv.slice(2);
const ajv = new Ajv2020({ strict: true, strictRequired: false, allErrors: true, allowUnionTypes: true });
addFormats(ajv);
// A word the connector itself writes is one that the schema tells of.
ajv.addKeyword({
  keyword: "x-open-enum",
  compile: (open, { examples }) => (word) => open !== true || !examples || examples.includes(word),
});
for (const folder of [dir, path.join(dir, "services")]) {
  for (const name of fs.readdirSync(folder).filter((n) => n.endsWith(".json"))) {
    ajv.addSchema(JSON.parse(fs.readFileSync(path.join(folder, name), "utf8")));
  }
}

function faults(schema, value) {
  const validate = ajv.getSchema(schema);
  if (!validate) return `there is no schema ${schema}`;
  if (!validate(value)) return ajv.errorsText(validate.errors);
  if (schema !== "envelope.json") return "";
  return faults(value.dataschema.replace("urn:smartconnect:schema:", ""), value.data);
}

let seen = 0;
let wrong = 0;
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { what, schema, value, ok } = JSON.parse(line);
  seen++;
  const found = faults(schema, value);
  if (ok !== (found === "")) {
    wrong++;
    console.log(`${what}: ${found || "it passes"}`);
  }
}
console.log(`values: ${seen}, not as expected: ${wrong}`);
process.exitCode = wrong > 0 || seen === 0 ? 1 : 0;

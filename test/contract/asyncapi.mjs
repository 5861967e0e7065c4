// Reads AsyncAPI documents with the official parser. For each it prints its
// errors, and then a line of JSON: how many there are, and what was read.
import { Parser, fromFile } from "@asyncapi/parser";

const error = 0; // the severity
for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await fromFile(new Parser(), file).parse();
  const errors = diagnostics.filter((d) => d.severity === error);
  for (const { code, path, message } of errors) console.log(`${path?.join(".")}: ${message} (${code})`);
  const messages = document?.allMessages().all() ?? [];
  const unread = messages.filter((m) => m.id() !== "refusal" && !Object.keys(m.payload()?.json().properties ?? {}).length);
  console.log(JSON.stringify({ file, errors: errors.length, messages: messages.length, unread: unread.length }));
}

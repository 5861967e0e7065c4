// b.well's guide, step by step, with the published SDK as the simulator's
// client. It prints one line per step and fails at the first that is wrong.
import assert from "node:assert/strict";
import { BWellSDK, CareTeamsRequest, CreateConsentRequest, DataSourceRequest, GetTasksRequest, InMemoryTokenStorage } from "@icanbwell/bwell-sdk-ts";

const { BASE, BRIEF_BASE } = process.env;
const json = async (url, init) => (await fetch(url, init)).json();
const step = (name) => console.log("ok:", name);
const key = Buffer.from(JSON.stringify({ r: "simulated", env: "sandbox", kid: "1" })).toString("base64");

async function connect(base, tokenStorage = new InMemoryTokenStorage()) {
  const sdk = new BWellSDK({ clientKey: key, telemetryEnabled: false, tokenStorage, overrides: { apiUrl: `${base}/v1/graphql` } });
  const started = await sdk.initialize();
  assert.ok(started.success(), "initialize");
  const [member] = await json(`${base}/sim/members`);
  const login = await sdk.authenticate({ token: member.idToken });
  assert.ok(login.success(), `authenticate: ${login.failure() && login.error()}`);
  return { sdk, member };
}

const { sdk, member } = await connect(BASE);
step("initialize, authenticate");

const now = async () => (await json(`${BASE}/sim/members`))[0];
const consent = async (provision) => {
  const made = await sdk.user.createConsent(new CreateConsentRequest({ status: "ACTIVE", provision, category: "IAS_IMPORT_RECORDS" }));
  assert.ok(made.success(), `createConsent ${provision}: ${made.failure() && made.error()}`);
  assert.equal(made.data().provision.type, provision);
};
await consent("DENY");
assert.ok((await now()).connections.every((c) => c.integrationType === "PROA" || c.status === "ACCESS_ENDED"));
await consent("PERMIT");
assert.ok((await now()).connections.every((c) => c.status === "CONNECTED"));
step("createConsent deny and permit");

const code = { value: { system: "https://www.icanbwell.com/activityType", code: "network-data-retrieval" } };
const hidden = await sdk.activity.getTasks(new GetTasksRequest({ page: 0, code }));
assert.equal(hidden.error ?? null, null, "getTasks");
assert.ok(!JSON.stringify(hidden.data).includes("completed"), "the SDK's own default hides the system task");
const shown = await sdk.activity.getTasks(new GetTasksRequest({ page: 0, code, performer: { values: [{ code: "system" }] } }));
assert.match(JSON.stringify(shown.data), /network-data-retrieval/, "getTasks with a performer");
step("getTasks");

const teams = await sdk.health.getCareTeams(new CareTeamsRequest({ page: 0 }));
assert.match(JSON.stringify(teams.data), /recommended-connections/, "getCareTeams");
step("getCareTeams");

const listed = async () => (await sdk.connection.getMemberConnections()).data;
const [proa] = await listed();
assert.equal(proa.status, "CONNECTED", "getMemberConnections");
step("getMemberConnections");

const source = new DataSourceRequest({ connectionId: proa.id });
const disconnected = await sdk.connection.disconnectConnection(source);
assert.equal(disconnected.data().status, "DISCONNECTED");
assert.equal((await listed())[0].status, "DISCONNECTED");
step("disconnectConnection");

const url = (await sdk.connection.getOauthUrl(source)).data.redirectUrl;
const page = await (await fetch(url)).text();
assert.match(page, /Sign in and share/);
const done = await fetch(url, { method: "POST" });
assert.match(done.url, /status_code=success/);
assert.equal((await listed())[0].status, "CONNECTED");
step("getOauthUrl and login");

assert.equal((await sdk.connection.deleteConnection(source)).data().status, "DELETED");
assert.ok(!(await listed()).some((c) => c.id === proa.id));
step("deleteConnection");

// Of this b.well the access tokens end soon. The SDK is idle until one has.
const tokens = new InMemoryTokenStorage();
const brief = await connect(BRIEF_BASE, tokens);
const refreshed = async () => (await json(`${BRIEF_BASE}/sim/calls`))[brief.member.id].refresh ?? 0;
assert.ok((await brief.sdk.connection.getMemberConnections()).data.length > 0);
const first = await tokens.get("accessToken");
const { exp } = JSON.parse(Buffer.from(first.split(".")[1], "base64url"));
while (Date.now() <= exp * 1000) await new Promise((done) => setTimeout(done, exp * 1000 - Date.now() + 1));
const over = await json(`${BRIEF_BASE}/v1/graphql`, {
  method: "POST", headers: { authorization: `Bearer ${first}` }, body: JSON.stringify({ query: "{tasks{total}}" }),
});
assert.equal(over.errors[0].message, "Token Expired");
const before = await refreshed();
assert.ok((await brief.sdk.connection.getMemberConnections()).data.length > 0, "after the first token ended");
assert.ok((await refreshed()) > before, "the SDK refreshed");
assert.notEqual(await tokens.get("accessToken"), first);
step("token refresh");

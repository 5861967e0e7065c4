// b.well's guide, step by step, and whatever else the published SDK can do with
// logins, consents, tasks, connections and identity, with the simulator's as the
// b.well it talks to. It prints one line per step and fails at the first that is
// wrong.
import assert from "node:assert/strict";
import {
  BWellSDK, CareTeamsRequest, ConnectionRequest, CreateConsentRequest, CreateVerificationUrlRequest, DataSourceRequest, GetConsentsRequest, GetTasksRequest,
  InMemoryTokenStorage, SearchHealthResourcesRequest, SubmitProviderForReviewRequest, categoryCodeValues,
} from "@icanbwell/bwell-sdk-ts";

const { BASE, BRIEF_BASE } = process.env;
const json = async (url, init) => (await fetch(url, init)).json();
const step = (name) => console.log("ok:", name);
const key = Buffer.from(JSON.stringify({ r: "simulated", env: "sandbox", kid: "1" })).toString("base64");

// done is the data of a result of either kind the SDK has.
function done(what, result) {
  const failed = typeof result.failure === "function" ? result.failure() && result.error() : result.error;
  assert.ok(!failed, `${what}: ${failed && (failed.message || JSON.stringify(failed))}`);
  return typeof result.data === "function" ? result.data() : result.data;
}

async function started(base, tokenStorage = new InMemoryTokenStorage()) {
  const sdk = new BWellSDK({ clientKey: key, telemetryEnabled: false, tokenStorage, overrides: { apiUrl: `${base}/v1/graphql` } });
  done("initialize", await sdk.initialize());
  return sdk;
}

async function connect(base, tokenStorage) {
  const sdk = await started(base, tokenStorage);
  const [member] = await json(`${base}/sim/members`);
  done("authenticate", await sdk.authenticate({ token: member.idToken }));
  return { sdk, member };
}

const { sdk, member } = await connect(BASE);
step("initialize, authenticate");

const now = async () => (await json(`${BASE}/sim/members`))[0];
const consent = async (provision) => {
  const made = done("createConsent", await sdk.user.createConsent(new CreateConsentRequest({ status: "ACTIVE", provision, category: "IAS_IMPORT_RECORDS" })));
  assert.equal(made.provision.type, provision);
  assert.equal(made.category[0].coding[0].code, "ias:import:records");
};
await consent("DENY");
assert.ok((await now()).connections.every((c) => c.integrationType === "PROA" || c.status === "ACCESS_ENDED"));
await consent("PERMIT");
assert.ok((await now()).connections.every((c) => c.status === "CONNECTED"));
step("createConsent deny and permit");

const consents = async (category) => done("getConsents", await sdk.user.getConsents(category && new GetConsentsRequest({ category }))).entry ?? [];
const given = await consents("IAS_IMPORT_RECORDS");
assert.deepEqual(given.map((e) => e.resource.provision.type).sort(), ["deny", "permit", "permit"]);
assert.ok(given.every((e) => e.id === e.resource.id && e.resource.patient.reference && e.resource.meta.lastUpdated));
for (const category of categoryCodeValues.filter((c) => c !== "IAS_IMPORT_RECORDS")) {
  assert.deepEqual(await consents(category), [], `${category} was never given`);
  const organizationId = category === "PROA_ATTESTATION" ? "o-1" : undefined;
  done(category, await sdk.user.createConsent(new CreateConsentRequest({ status: "ACTIVE", provision: "PERMIT", category, organizationId })));
  assert.equal((await consents(category)).length, 1, `${category} is read back`);
}
assert.equal((await consents()).length, 2 + categoryCodeValues.length);
assert.equal((await now()).consent, "permit");
const unattested = await sdk.user.createConsent(new CreateConsentRequest({ status: "ACTIVE", provision: "PERMIT", category: "PROA_ATTESTATION" }));
assert.ok(unattested.failure(), "an attestation is for an organization");
step("getConsents");

const code = { value: { system: "https://www.icanbwell.com/activityType", code: "network-data-retrieval" } };
const tasks = async (request) => done("getTasks", await sdk.activity.getTasks(new GetTasksRequest({ page: 0, code, ...request }))).entry ?? [];
const performer = { values: [{ system: "https://www.icanbwell.com/performerType", code: "system" }] };
assert.deepEqual(await tasks(), [], "the SDK's own default hides the system task");
const [{ resource: task }] = await tasks({ performer });
assert.equal(task.resourceType, "Task");
assert.equal(task.code.coding[0].code, "network-data-retrieval");
assert.equal((await tasks({ performer, id: { values: [task.id] } })).length, 1);
assert.deepEqual(await tasks({ performer, id: { values: ["another"] } }), []);
assert.deepEqual(await tasks({ performer: { values: [{ code: "patient" }] } }), []);
await json(`${BASE}/sim/members/${member.id}/task`, { method: "PUT", body: JSON.stringify({ status: "in-progress" }) });
const system = "http://hl7.org/fhir/task-status";
assert.equal((await tasks({ performer, status: { value: { system, value: "IN_PROGRESS" } } })).length, 1);
assert.equal((await tasks({ performer, status: { values: [{ code: "in-progress" }, { code: "ready" }] } })).length, 1);
assert.deepEqual(await tasks({ performer, status: { value: { code: "completed" } } }), []);
assert.deepEqual(await tasks({ performer, status: { notEquals: { values: [{ code: "in-progress" }] } } }), []);
assert.deepEqual(await tasks({ performer, identifier: { value: { code: "x" } } }), []);
assert.deepEqual(await tasks({ performer, tag: { value: { code: "x" } } }), []);
assert.equal((await tasks({ performer, subject: { value: `Patient/${member.id}` } })).length, 1);
assert.deepEqual(await tasks({ performer, subject: { value: "Patient/another" } }), []);
step("getTasks");

const teams = async (request) => done("getCareTeams", await sdk.health.getCareTeams(new CareTeamsRequest({ page: 0, pageSize: 50, ...request }))).entry ?? [];
const [team] = await teams({ groupCode: { value: { code: "recommended-connections" } } });
assert.equal(team.resource.category[0].coding[0].code, "recommended-connections");
const offer = team.resource.participant[0].member.resource;
assert.deepEqual(offer.alias, member.recommendations);
assert.equal((await teams()).length, 1);
assert.deepEqual(await teams({ groupCode: { value: { code: "longitudinal" } } }), []);
assert.deepEqual(await teams({ page: 1 }), []);
step("getCareTeams");

const listed = async () => done("getMemberConnections", await sdk.connection.getMemberConnections());
const [proa] = await listed();
const row = (await now()).connections.find((c) => c.id === proa.id && c.integrationType === "PROA");
for (const field of ["name", "category", "type", "status", "syncStatus"]) assert.equal(proa[field], row[field], field);
for (const field of ["statusUpdated", "created", "lastSynced"]) assert.equal(Date.parse(proa[field]), Date.parse(`${row[field]}Z`), field);
step("getMemberConnections");

const described = async (connectionId) => done("getDataSource", await sdk.connection.getDataSource(new DataSourceRequest({ connectionId })));
assert.equal((await described(proa.id)).name, proa.name);
assert.equal((await described(offer.alias[0])).name, offer.organizationName);
const search = { search: "hospital", page: 0, searchLocation: { lat: 40, lon: -74 } };
const found = done("searchHealthResources", await sdk.search.searchHealthResources(new SearchHealthResourcesRequest(search)));
const slug = found.results[0].endpoint[0].name;
assert.match((await described(slug)).name, /Hospital/);
step("getDataSource, searchHealthResources");

const source = new DataSourceRequest({ connectionId: proa.id });
assert.equal(done("disconnectConnection", await sdk.connection.disconnectConnection(source)).status, "DISCONNECTED");
assert.equal((await listed())[0].status, "DISCONNECTED");
step("disconnectConnection");

const url = (await sdk.connection.getOauthUrl(source)).data.redirectUrl;
const page = await (await fetch(url)).text();
assert.match(page, /Sign in and share/);
assert.match((await fetch(url, { method: "POST" })).url, /status_code=success/);
assert.equal((await listed())[0].status, "CONNECTED");
step("getOauthUrl and login");

assert.equal(done("deleteConnection", await sdk.connection.deleteConnection(source)).status, "DELETED");
for (let going; (going = (await listed()).find((c) => c.id === proa.id)); await new Promise((go) => setTimeout(go, 100))) {
  assert.equal(going.syncStatus, "DELETING"); // the data goes a while later, and the connection with it
}
step("deleteConnection");

const basic = new ConnectionRequest({ connectionId: offer.alias[0], username: "u", password: "p" });
const made = done("createConnection", await sdk.connection.createConnection(basic));
assert.equal(made.id, offer.alias[0]);
assert.equal(made.category, "BASIC");
assert.ok((await listed()).some((c) => c.id === offer.alias[0] && c.category === "BASIC"));
assert.deepEqual(await teams(), [], "what is connected is not recommended");
assert.match((await sdk.connection.createConnection(basic)).error().message, /Already Connected/);
done("submitProviderForReview", await sdk.search.submitProviderForReview(new SubmitProviderForReviewRequest({ institution: "Clinic", state: "MA" })));
step("createConnection, submitProviderForReview");

const verification = async () => done("getVerificationStatus", await sdk.user.getVerificationStatus());
assert.equal((await verification()).status, "validated");
await json(`${BASE}/sim/members/${member.id}/identity`, { method: "PUT", body: JSON.stringify({ status: "attested" }) });
const attested = await verification();
assert.equal(attested.resourceType, "VerificationResult");
assert.equal(attested.status, "attested");
for (const field of ["id", "statusDate", "lastPerformed"]) assert.ok(attested[field], field);
const callbackUrl = `${BASE}/healthz`;
const verify = done("createVerificationUrl", await sdk.user.createVerificationUrl(new CreateVerificationUrlRequest({ callbackUrl, includeAttributeMatchingCheck: true })));
assert.match(await (await fetch(verify)).text(), /Prove who you are/);
assert.equal((await fetch(verify, { method: "POST" })).url, callbackUrl);
assert.equal((await verification()).status, "validated");
step("getVerificationStatus, createVerificationUrl");

// The other ways to log in.
const storage = new InMemoryTokenStorage();
const byPassword = await started(BASE, storage);
assert.ok((await byPassword.authenticate({ username: "nobody@example.com", password: "p" })).failure());
done("login", await byPassword.authenticate({ username: member.id, password: "p" }));
assert.ok(done("after login", await byPassword.connection.getMemberConnections()).length > 0);
const again = await started(BASE, storage);
done("authenticateFromStorage", await again.authenticateFromStorage());
assert.ok(done("after authenticateFromStorage", await again.connection.getMemberConnections()).length > 0);
const minted = await json(`${BASE}/v1/graphql`, {
  method: "POST",
  body: JSON.stringify({
    query: "mutation($k: String!, $p: String!, $e: String!){createAuthCode(clientKey: $k, clientPersonId: $p, expirationDate: $e){authCode}}",
    variables: { k: key, p: member.id, e: new Date(Date.now() + 60_000).toISOString() },
  }),
});
const { authCode } = minted.data.createAuthCode;
const byCode = await started(BASE);
done("exchangeAuthCode", await byCode.authenticate({ authCode }));
assert.ok(done("after exchangeAuthCode", await byCode.connection.getMemberConnections()).length > 0);
assert.ok((await (await started(BASE)).authenticate({ authCode })).failure(), "a code works once");
const pairs = Object.fromEntries(await storage.getMany(["accessToken", "idToken", "refreshToken"]));
const handed = await started(BASE);
done("setAuthTokens", await handed.setAuthTokens(pairs));
assert.ok(done("after setAuthTokens", await handed.connection.getMemberConnections()).length > 0);
const guest = done("createGuestAccessToken", await (await started(BASE)).createGuestAccessToken());
const asGuest = await fetch(`${BASE}/v1/graphql`, {
  method: "POST", headers: { authorization: `Bearer ${guest.accessToken}` }, body: JSON.stringify({ query: "{getMemberConnections{id}}" }),
});
assert.equal(asGuest.status, 403, "a guest has no records");
step("login by password, by code, from storage, as a guest");

// Whoever leaves is gone, and their tokens with them.
await json(`${BASE}/sim/members`, { method: "POST", body: JSON.stringify({ id: "leaver", connections: [{ id: "a-1" }] }) });
const leaver = await started(BASE);
done("login", await leaver.authenticate({ username: "leaver", password: "p" }));
assert.equal(done("before delete", await leaver.connection.getMemberConnections()).length, 1);
done("delete", await leaver.user.delete());
assert.equal((await leaver.connection.getMemberConnections()).data?.length ?? 0, 0);
assert.ok(!(await json(`${BASE}/sim/members`)).some((m) => m.id === "leaver"));
step("delete");

// Of this b.well the access tokens end soon. The SDK is idle until one has.
const tokens = new InMemoryTokenStorage();
const brief = await connect(BRIEF_BASE, tokens);
const refreshed = async () => (await json(`${BRIEF_BASE}/sim/calls`))[brief.member.id].refresh ?? 0;
assert.ok(done("at first", await brief.sdk.connection.getMemberConnections()).length > 0);
const first = await tokens.get("accessToken");
const { exp } = JSON.parse(Buffer.from(first.split(".")[1], "base64url"));
while (Date.now() <= exp * 1000) await new Promise((done) => setTimeout(done, exp * 1000 - Date.now() + 1));
const over = await json(`${BRIEF_BASE}/v1/graphql`, {
  method: "POST", headers: { authorization: `Bearer ${first}` }, body: JSON.stringify({ query: "{tasks{total}}" }),
});
assert.equal(over.errors[0].message, "Token Expired");
const before = await refreshed();
assert.ok(done("after the first token ended", await brief.sdk.connection.getMemberConnections()).length > 0);
assert.ok((await refreshed()) > before, "the SDK refreshed");
assert.notEqual(await tokens.get("accessToken"), first);
step("token refresh");

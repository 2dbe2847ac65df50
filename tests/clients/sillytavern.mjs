// SillyTavern's own request code: a provider of its page, and behind "OpenAI Compatible" the route of its server.
//   node sillytavern.mjs PACKAGE ENDPOINT TEXT chatterbox|openai-compatible FILE
// Of the rest of the program there are stand-ins that do nothing. The page asks as a browser does, from its own origin.
import { readFileSync, writeFileSync } from "node:fs";

const [folder, endpoint, text, kind, file] = process.argv.slice(2);
const ORIGIN = "http://127.0.0.1:8000";
const nothing = new Proxy(() => {}, {
  get: (_, name) => (name === Symbol.toPrimitive ? () => "" : nothing),
  apply: () => nothing,
});
const standIns = (names) => Object.fromEntries(names.split(" ").map((name) => [name, nothing]));

/** What a module exports, with these names in place of its imports. */
function load(path, exported, given) {
  const source = readFileSync(`${folder}/${path}`, "utf8")
    .replace(/^import .*$/gm, "")
    .replace(/^export \{.*$/gm, "")
    .replace(/^export /gm, "");
  return new Function(...Object.keys(given), `${source}; return ${exported};`)(...Object.values(given));
}

/** As a browser does: with the page's origin, and a question first where the request is not a simple one. */
async function browserFetch(url, options = {}) {
  if (url.startsWith("/")) return ownServer(url, JSON.parse(options.body));
  if (options.body) {
    const headers = Object.keys(options.headers).map((name) => name.toLowerCase());
    const asked = { Origin: ORIGIN, "Access-Control-Request-Method": options.method };
    asked["Access-Control-Request-Headers"] = headers.sort().join();
    const allowed = await fetch(url, { method: "OPTIONS", headers: asked });
    const granted = allowed.headers.get("access-control-allow-headers")?.toLowerCase() ?? "";
    if (!allowed.ok || !headers.every((name) => granted === "*" || granted.includes(name)))
      throw new Error(`the browser would not ask: ${allowed.status}, ${granted}`);
  }
  const answer = await fetch(url, { ...options, headers: { ...options.headers, Origin: ORIGIN } });
  const readers = answer.headers.get("access-control-allow-origin");
  if (!["*", ORIGIN].includes(readers)) throw new Error("the page may not read it");
  return answer;
}

/** SillyTavern's server: the route that its page asks. */
async function ownServer(path, body) {
  const routes = {};
  const router = { post: (route, handler) => (routes[route] = handler), get: () => {}, use: () => {} };
  const custom = { ...router, post: (route, handler) => (routes[`/custom${route}`] = handler) };
  const routers = [router];
  const express = { Router: () => routers.pop() ?? custom };
  const given = standIns(
    "fs FormData getConfigValue mergeObjectWithYaml excludeKeysByYaml trimV1 delay setAdditionalHeaders SECRET_KEYS " +
      "POLLINATIONS_ENDPOINT AIMLAPI_HEADERS OPENROUTER_HEADERS SILICONFLOW_ENDPOINT ZAI_ENDPOINT",
  );
  load("src/endpoints/openai.js", "router", { ...given, Buffer, fetch, express, readSecret: () => null });
  return new Promise((resolve) => {
    const answer = { statusCode: 200, setHeader: () => {} };
    answer.status = (code) => Object.assign(answer, { statusCode: code });
    answer.send = (sent) => resolve(new Response(sent, { status: answer.statusCode }));
    answer.sendStatus = (code) => answer.status(code).send("");
    routes[path.replace("/api/openai", "")]({ body, user: {} }, answer);
  });
}

const page = standIns(
  "document $ toastr getPreviewString saveTtsProviderSettings event_types eventSource SECRET_KEYS secret_state",
);
const given = { ...page, getRequestHeaders: () => ({}), fetch: browserFetch };
const exported = { chatterbox: "ChatterboxTtsProvider", "openai-compatible": "OpenAICompatibleTtsProvider" }[kind];
const provider = new (load(`public/scripts/extensions/tts/${kind}.js`, exported, given))();
provider.settings = { ...provider.defaultSettings, ...provider.settings, provider_endpoint: endpoint };
await provider.checkReady();
const voice = (await provider.fetchTtsVoiceObjects())[0].voice_id;
const answer = await provider.generateTts(text, voice);
writeFileSync(file, Buffer.from(await answer.arrayBuffer()));

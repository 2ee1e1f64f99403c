// The models page: what there is, what is loaded, and commands. The service's status comes as a
// stream; the list of models is asked for again when something may have changed.

import { byId } from "../dom.js";
import * as api from "./api.js";
import { showDiskCaches, showMemory, total } from "./machine.js";
import { wantedModel } from "./names.js";
import { ModelRow } from "./row.js";
import { isSame, readSuggestions, Suggestions } from "./suggestions.js";

const EVENTS = "/api/engine/status/events";
const RETRY_MS = 3000;
const LOOK_EVERY = 5; // seconds between two looks at the list while nothing happens

const rows = new Map(); // by model id
const doing = new Map(); // model id: {action, since}
let models = [], memory = 0, looks = 0, looking = null, suggested = null, suggestions = null;

function connection(state, text) {
  const line = byId("connection");
  line.dataset.state = state;
  if (line.textContent !== text) line.textContent = text;
}

function notice(id, text) {
  const line = byId(id);
  line.hidden = !text;
  if (line.textContent !== text) line.textContent = text;
}

function say(text) {
  byId("live").textContent = text;
}

/** Where a key is required and the session is over, the sign-in page leads back here. */
function failed(id, error) {
  if (error instanceof api.SignedOut) {
    location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
    return;
  }
  notice(id, error.message);
}

/** Ask for the list, once at a time. */
function look() {
  looking ??= api.listModels().then((list) => {
    announce(list);
    models = list;
    show();
  }, (error) => {
    if (error instanceof api.SignedOut) failed("trouble", error);
  }).finally(() => { looking = null; });
  return looking;
}

/** Say what became of downloads: they end without anybody's doing. */
function announce(list) {
  for (const before of models.filter((one) => one.downloading)) {
    const now = list.find((one) => one.id === before.id);
    if (now?.downloaded) say(`${before.name} has been downloaded.`);
    else if (now && !now.downloading && now.download_error) say(now.download_error);
  }
}

function show() {
  const list = byId("list");
  const keep = new Set(models.map((model) => model.id));
  for (const [id, row] of rows) {
    if (keep.has(id)) continue;
    row.element.remove();
    rows.delete(id);
  }
  let before = null;
  for (const model of models) {
    if (!rows.has(model.id)) rows.set(model.id, new ModelRow(model, act));
    const row = rows.get(model.id);
    const known = suggested?.find((one) => isSame(model, one));
    row.show(model, known ?? null, doing.get(model.id) ?? null);
    const next = before === null ? list.firstChild : before.nextSibling;
    if (next !== row.element) list.insertBefore(row.element, next);
    before = row.element;
  }
  byId("none").hidden = models.length > 0;
  suggestions?.show(models, memory);
}

const COMMANDS = {
  load: (model, bits) => api.load(model, bits),
  unload: (model) => api.unload(model.id),
  pin: (model, bits) => api.pin(model, bits),
  unpin: (model) => api.unpin(model.id),
  cancel: (model) => api.cancelDownload(model.id),
  download: (model) => api.download(model.repository ?? model.name),
  remove: (model) => api.remove(model.id),
};
const DONE = { load: "is loaded", unload: "is unloaded", pin: "is loaded and pinned",
  unpin: "is no longer pinned", cancel: "is no longer being downloaded",
  download: "is being downloaded", remove: "has been deleted" };

async function act(action, model, bits) {
  if (action === "remove" && !(await confirmed(model))) return;
  notice("action-problem", "");
  doing.set(model.id, { action, since: Date.now() });
  show();
  try {
    await COMMANDS[action](model, bits);
    say(`${model.name} ${DONE[action]}.`);
  } catch (error) {
    failed("action-problem", error);
  }
  await look(); // one that is under way may have begun before
  doing.delete(model.id);
  await look();
  show();
}

/** Ask whether a model is to be deleted. */
function confirmed(model) {
  const dialog = byId("confirm");
  byId("confirm-text").textContent = model.downloaded
    ? `The files of ${model.name} are removed from this machine. To use it again you have to `
      + "download it again."
    : `What has been downloaded of ${model.name} is removed from this machine.`;
  dialog.returnValue = "";
  dialog.showModal();
  byId("confirm-no").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** Begin a download; whether it has begun. */
async function get(name) {
  notice("get-problem", "");
  try {
    await api.download(name);
    say(`The download of ${name} has begun.`);
    await look();
    await look();
    return true;
  } catch (error) {
    failed("get-problem", error);
    return false;
  }
}

async function submitted(event) {
  event.preventDefault();
  const field = byId("wanted"), button = event.target.querySelector("button");
  const name = wantedModel(field.value);
  if (name === null) {
    notice("get-problem", "Write a repository as owner/name, or paste its address.");
    field.focus();
    return;
  }
  button.disabled = true;
  if (await get(name)) field.value = "";
  button.disabled = false;
  field.focus();
}

async function scanned(event) {
  const button = event.target;
  button.disabled = true;
  notice("action-problem", "");
  try {
    const { models: count } = await api.scan();
    say(`${count} models were found.`);
    await look();
  } catch (error) {
    failed("action-problem", error);
  }
  button.disabled = false;
  button.focus();
}

function told(status) {
  connection("live", "Live");
  notice("trouble", status.workers.length ? "" : "No worker is running: models can't be loaded.");
  showMemory(byId("memory"), status.memory, status.workers, status.models);
  showDiskCaches(byId("disk-caches"), status.workers);
  memory = Math.max(0, ...status.memory.map(total));
  const loaded = new Set(status.models.map((one) => one.id));
  const changed = models.some((one) => one.loaded !== loaded.has(one.id));
  const moving = doing.size > 0 ||
    models.some((one) => one.downloading || one.load_progress !== null);
  looks += 1;
  if (changed || moving || looks % LOOK_EVERY === 1) look();
  else show();
}

function listen() {
  const source = new EventSource(EVENTS);
  source.addEventListener("status", (event) => told(JSON.parse(event.data)));
  source.addEventListener("away",
    () => connection("lost", "The queue's storage is not responding. Trying again…"));
  source.addEventListener("error", () => {
    connection("lost", "Connection lost. Trying again…");
    if (source.readyState !== EventSource.CLOSED) return; // it comes back by itself
    source.close();
    look(); // signed out?
    setTimeout(listen, RETRY_MS);
  });
}

byId("get").addEventListener("submit", submitted);
byId("scan").addEventListener("click", scanned);
byId("confirm-no").addEventListener("click", () => byId("confirm").close("no"));
byId("confirm-yes").addEventListener("click", () => byId("confirm").close("yes"));
look();
listen();
readSuggestions().then((read) => {
  suggested = read.groups.flatMap((group) => group.models);
  suggestions = new Suggestions(byId("suggestions"), byId("suggestions-about"), read, get);
  show();
});

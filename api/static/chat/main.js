// The entry point of the chat page: builds its parts and connects them.

import { byId } from "../dom.js";
import { Announcer } from "./announcer.js";
import { Chats } from "./chats.js";
import { Composer, say } from "./composer.js";
import { Drafts } from "./drafts.js";
import { EffortChoice } from "./effort.js";
import { suggest } from "./examples.js";
import { drawIcons } from "./icons.js";
import { ModelChoice } from "./models.js";
import { whoReads } from "./reader.js";
import { RememberedSettings, SettingsDialog } from "./settings.js";
import { listen } from "./shortcuts.js";
import { Sidebar } from "./sidebar.js";
import { askForKeys } from "./signin.js";
import { openDrafts, openStore } from "./store.js";
import { Thread } from "./thread.js";
import { TransferDialog } from "./transferdialog.js";

drawIcons();
let reader = null;
askForKeys(() => reader?.look());
reader = await whoReads(say);
const remembered = new RememberedSettings(reader);
const store = await openStore(reader);
byId("not-kept").hidden = store.kept;
const chats = new Chats(store);
let settings = remembered.get();

const announcer = new Announcer(byId("live"));
const drafts = new Drafts(reader, await openDrafts(reader), (id) => composer.problem(
  "This browser has no room to keep the attached files: they are gone when this page is closed.",
  id));
const composer = new Composer(drafts, {
  send,
  stop: () => chats.stop(),
  editLast: () => thread.editLast(),
  already: () => chats.shown()
    .reduce((sum, message) => sum + (message.images?.length ?? 0), 0),
});
const models = new ModelChoice(byId("model"), {
  changed: (byReader) => {
    settings.model = models.chosen.id;
    if (byReader) remembered.set({ ...remembered.get(), model: settings.model });
    effort.show(models.chosen, settings.effort);
    thread.named();
    suggest(models.chosen, example);
  },
  problem: say,
});
const effort = new EffortChoice(byId("effort"), (chosen) => {
  settings.effort = chosen;
  remembered.set({ ...remembered.get(), effort: chosen });
});
const thread = new Thread(
  { list: byId("thread"), scroller: byId("scroller"), toEnd: byId("to-end"), empty: byId("empty") },
  {
    status: (answer) => chats.status(answer),
    image: (id) => chats.image(id),
    modelName: (id) => models.name(id),
    busy: () => chats.running() !== null,
    turn: (message, step) => {
      const now = chats.turnTo(message, step);
      if (now) thread.focusVersion(now, step);
    },
    resend: (message, text) => {
      chats.resend(message, text, asked());
      composer.focus();
    },
    regenerate: (answer) => {
      chats.regenerate(answer, asked());
      composer.focus();
    },
    goOn: (answer) => {
      chats.goOn(answer, asked());
      composer.focus();
    },
  },
);
const sidebar = new Sidebar(chats, { opened: open, fresh: () => open(null) });
const dialog = new SettingsDialog({
  get: () => settings,
  set: (chosen) => {
    settings = { ...settings, ...chosen };
    remembered.set(settings);
    showSettings();
  },
});
new TransferDialog(chats, (id) => models.name(id));
byId("system-set").addEventListener("click", () => dialog.open());

/** The settings that a chat is asked with: of the thinking what the model has. */
const asked = () => ({ ...settings, effort: effort.show(models.chosen, settings.effort) });

async function send(text, attached) {
  if (!models.chosen) await models.load().catch(() => {}); // the list may be on its way
  if (!models.chosen) {
    composer.restore(text, attached);
    return composer.problem("There is no model to send this to.");
  }
  try {
    await chats.send(text, attached, asked());
    composer.begun(chats.open.id);
  } catch {
    composer.restore(text, attached);
    composer.problem("This browser's storage is too full for the images.");
  }
}

/** Ask one of the examples. */
async function example(text, files) {
  await composer.attachments.add(files);
  composer.focus();
  send(text, composer.attachments.take());
}

function open(id) {
  chats.select(id);
  settings = { ...remembered.get(), ...chats.open?.settings };
  models.choose(settings.model);
  composer.open(chats.open?.id ?? null);
  showSettings();
  // On a phone its keyboard would cover half of the page.
  if (matchMedia("(hover: hover)").matches) composer.focus();
}

/** A sign that the model is told something before the conversation. */
function showSettings() {
  const system = settings.system.trim();
  byId("system-set").hidden = system === "";
  byId("system-shown").textContent = system;
}

function showOpen({ detail: stay }) {
  const title = chats.open?.title ?? "New chat";
  byId("heading").textContent = title;
  document.title = `${title} · MLX chat queue`;
  const address = chats.open ? `#${chats.open.id}` : location.pathname;
  if (chats.open ? location.hash !== address : location.hash) history.pushState(null, "", address);
  thread.open(chats.shown(), { versionsOf: (message) => chats.versions(message), stay });
  if (!chats.open) composer.open(null);
  showRunning();
}

function showRunning() {
  const is = chats.running() !== null;
  composer.running(is);
  thread.running(is);
}

chats.addEventListener("open", showOpen);
chats.addEventListener("answer", ({ detail: answer }) => {
  thread.changed(answer);
  announcer.changed(answer, chats.status(answer));
  showRunning();
});
chats.addEventListener("problem", ({ detail: words }) => composer.problem(words));
addEventListener("popstate", () => open(location.hash.slice(1) || null));
addEventListener("pagehide", () => chats.flush());
document.addEventListener("visibilitychange", () => chats.flush());
listen({
  Escape: () => sidebar.close() || chats.stop(),
  KeyN: () => open(null),
  KeyM: () => composer.focus(),
  KeyL: () => {
    if (matchMedia("(max-width: 48rem)").matches) sidebar.toggle();
    else byId("new").focus();
  },
  KeyR: () => {
    const last = chats.shown().at(-1);
    if (last?.role === "assistant") chats.regenerate(last, asked());
  },
  KeyF: () => sidebar.search(),
  KeyS: () => dialog.open(),
});

await chats.start();
await drafts.load();
drafts.prune(chats.list().map(({ id }) => id));
open(location.hash.slice(1) || null);
models.start();

// The entry point of the chat page: builds its parts and connects them.

import { byId } from "../dom.js";
import { Announcer } from "./announcer.js";
import { Chats } from "./chats.js";
import { Composer, say } from "./composer.js";
import { suggest } from "./examples.js";
import { drawIcons } from "./icons.js";
import { ModelChoice } from "./models.js";
import { whoReads } from "./reader.js";
import { RememberedSettings, SettingsDialog } from "./settings.js";
import { listen } from "./shortcuts.js";
import { Sidebar } from "./sidebar.js";
import { askForKeys } from "./signin.js";
import { openStore } from "./store.js";
import { Thread } from "./thread.js";

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
const composer = new Composer({
  send,
  stop: () => chats.stop(),
  editLast: () => thread.editLast(),
  already: () => (chats.open?.messages ?? [])
    .reduce((sum, message) => sum + (message.images?.length ?? 0), 0),
});
const models = new ModelChoice(byId("model"), {
  changed: (byReader) => {
    settings.model = models.chosen.id;
    if (byReader) remembered.set({ ...remembered.get(), model: settings.model });
    suggest(models.chosen, example);
  },
  problem: (words) => composer.problem(words),
});
const thread = new Thread(
  { list: byId("thread"), scroller: byId("scroller"), toEnd: byId("to-end"), empty: byId("empty") },
  {
    status: (answer) => chats.status(answer),
    image: (id) => chats.image(id),
    modelName: (id) => models.name(id),
    busy: () => chats.running() !== null,
    resend: (message, text) => {
      chats.resend(message, text, settings);
      composer.focus();
    },
    regenerate: (answer) => {
      chats.regenerate(answer, settings);
      composer.focus();
    },
    goOn: (answer) => {
      chats.goOn(answer, settings);
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
  },
});

async function send(text, images) {
  if (!models.chosen) return composer.problem("There is no model to send this to.");
  try {
    await chats.send(text, images, settings);
  } catch {
    composer.restore(text);
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
  // On a phone its keyboard would cover half of the page.
  if (matchMedia("(hover: hover)").matches) composer.focus();
}

function showOpen() {
  const title = chats.open?.title ?? "New chat";
  byId("heading").textContent = title;
  document.title = `${title} · MLX chat queue`;
  const address = chats.open ? `#${chats.open.id}` : location.pathname;
  if (chats.open ? location.hash !== address : location.hash) history.pushState(null, "", address);
  thread.open(chats.open);
  composer.running(chats.running() !== null);
}

chats.addEventListener("open", showOpen);
chats.addEventListener("answer", ({ detail: answer }) => {
  thread.changed(answer);
  announcer.changed(answer, chats.status(answer));
  composer.running(chats.running() !== null);
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
    const last = chats.open?.messages.at(-1);
    if (last?.role === "assistant") chats.regenerate(last, settings);
  },
  KeyS: () => dialog.open(),
});

await chats.start();
open(location.hash.slice(1) || null);
models.start();

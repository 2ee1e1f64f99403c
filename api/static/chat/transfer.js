// Conversations as files: all of them or one as JSON, which can be read again, and one as Markdown.

import { DEFAULTS } from "./request.js";
import { FORMAT, copyOf, imagesOf, migrated, shown } from "./tree.js";

export const KIND = "mlx-chat-queue conversations";
const IMAGE = /^data:image\/(?:png|jpeg|webp|gif);base64,[A-Za-z0-9+/]+={0,2}$/;

/** Its message is shown to the reader as it is. */
export class TransferProblem extends Error {}

/** Conversations with their images, as JSON text. `dataUrl(id)` resolves to an image, or throws. */
export async function asJson(conversations, dataUrl) {
  const ids = new Set(conversations.flatMap(imagesOf));
  const images = {};
  for (const id of ids) images[id] = await dataUrl(id).catch(() => null); // gone: left out
  return JSON.stringify({ kind: KIND, format: FORMAT, exported: new Date().toISOString(),
    conversations, images }, null, 1);
}

/** The shown versions of a conversation as Markdown, without thinking. */
export function asMarkdown(conversation, modelName) {
  const parts = [`# ${conversation.title}`];
  for (const { role, text, settings, images = [], files = [] } of shown(conversation)) {
    const model = role === "assistant" && modelName(settings.model);
    parts.push(role === "user" ? "## You" : model ? `## Answer by ${model}` : "## Answer");
    if (images.length) parts.push(images.length === 1 ? "*An image*" : `*${images.length} images*`);
    parts.push(...files.map(({ name }) => `*The file ${name}*`), text);
  }
  return `${parts.filter(Boolean).join("\n\n")}\n`;
}

/**
 * The conversations and images in an exported text: `{conversations, images}`. Those whose id is
 * `taken(id)` become copies under other ids. Throws a TransferProblem.
 */
export async function fromJson(text, taken) {
  const file = parsed(text);
  if (file?.kind !== KIND || !Array.isArray(file.conversations))
    throw new TransferProblem("This is not a file of conversations that was exported here.");
  if (file.format > FORMAT)
    throw new TransferProblem("This file was exported by a newer version of this page.");
  const images = await imagesIn(file.images);
  const known = new Set(images.map(({ id }) => id));
  const conversations = file.conversations.map((one) => {
    const read = conversationIn(one, known);
    return taken(read.id) ? copyOf(read) : read;
  });
  return { conversations, images };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new TransferProblem("This is not a JSON file.");
  }
}

async function imagesIn(images) {
  const found = [];
  for (const [id, url] of Object.entries(images ?? {})) {
    if (typeof url !== "string" || !IMAGE.test(url)) continue;
    const [, type] = /^data:([^;]+);/.exec(url);
    const bytes = Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)),
      (char) => char.charCodeAt(0));
    found.push({ id, blob: new Blob([bytes], { type }) });
  }
  return found;
}

const isText = (value) => typeof value === "string";
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const numberOr = (value, otherwise) => (Number.isFinite(value) ? value : otherwise);
const textsOf = (values) => (Array.isArray(values) ? values : []).filter(isText);
const damaged = () => new TransferProblem("This file of conversations is damaged.");

/** A conversation of a file, with nothing in it that this page doesn't know. */
function conversationIn(one, images) {
  if (!isText(one?.id) || !isText(one.title) || !Array.isArray(one.messages)) throw damaged();
  if (!one.messages.every(isMessage)) throw damaged();
  const { chosen, format, messages, pinned, settings, title, id } = migrated(one);
  const now = Date.now();
  return {
    id, format, title: title.slice(0, 200), pinned: pinned === true,
    created: numberOr(one.created, now), updated: numberOr(one.updated, now),
    settings: isObject(settings) ? settingsIn(settings) : undefined,
    chosen: Object.fromEntries(Object.entries(chosen ?? {}).filter(([, value]) => isText(value))),
    messages: ordered(messages.map((message) => messageIn(message, images))),
  };
}

const isMessage = (message) => isText(message?.id) && isText(message.text) &&
  (message.role === "user" || (message.role === "assistant" && isObject(message.settings)));

/** Settings of a file: numbers are numbers, or left out; so are texts. */
function settingsIn(settings) {
  const stop = textsOf(settings.stop);
  const others = Object.entries(DEFAULTS).filter(([name]) => name !== "stop").map(
    ([name, usual]) => [name, name === "effort" || name === "system"
      ? isText(settings[name]) ? settings[name] : usual : numberOr(settings[name], usual)]);
  return { ...Object.fromEntries(others), stop: stop.length ? stop : null,
    model: isText(settings.model) ? settings.model : "" };
}

function messageIn(message, images) {
  const { id, role, text } = message;
  const parent = isText(message.parent) ? message.parent : null;
  if (role === "user") {
    const files = (Array.isArray(message.files) ? message.files : [])
      .filter((file) => isText(file?.name) && isText(file.text))
      .map((file) => ({ name: file.name, text: file.text }));
    const ids = Array.isArray(message.images) ? message.images : [];
    return { id, role, text, parent, files, images: ids.filter((image) => images.has(image)) };
  }
  const { error, usage, timings, finish, reasoning } = message;
  return {
    id, role, text, parent, state: "done", reasoning: isText(reasoning) ? reasoning : "",
    settings: settingsIn(message.settings), thoughtMs: numberOr(message.thoughtMs, 0),
    saidTokens: numberOr(message.saidTokens, 0), warnings: textsOf(message.warnings),
    // One that was running when it was exported ended there, as far as the file knows.
    finish: message.state === "done" && isText(finish) ? finish : "cancelled",
    error: isText(error?.words) ? { code: String(error.code), words: error.words } : null,
    usage: numbersIn(usage), timings: numbersIn(timings),
  };
}

/** The numbers of an object of figures; null if that is none. */
const numbersIn = (figures) => (isObject(figures)
  ? Object.fromEntries(Object.entries(figures).filter(([, value]) => Number.isFinite(value)))
  : null);

/** Messages whose parents are among those before them: what follows nothing is left out. */
function ordered(messages) {
  const known = new Set([null]);
  return messages.filter(({ id, parent }) => {
    if (!known.has(parent) || known.has(id)) return false;
    known.add(id);
    return true;
  });
}

/** Have the browser save a text as a file. */
export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** A file name from a conversation's name. */
export const fileName = (title, ending) =>
  `${title.replace(/[^\p{L}\p{N} _-]+/gu, "").trim().replace(/\s+/g, "-").slice(0, 60) || "chat"}` +
  `.${ending}`;

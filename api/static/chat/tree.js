// A conversation as a tree. Every message knows the one that it follows; messages that follow the
// same one are versions of each other, and one of them is chosen. Works on stored records alone.

import { newId } from "./store.js";

export const FORMAT = 2; // of stored conversations; the first, without a number, had one list

const NOTHING_SAID =
  { said: "", saidReasoning: "", saidMs: 0, saidTokens: 0, thinkingSince: null, thoughtMs: 0 };

const key = (parent) => parent ?? "";

/** A stored conversation in the present format, with nothing lost. */
export function migrated(record) {
  if (record.format >= FORMAT) return record;
  let parent = null;
  const messages = record.messages.map((message) => {
    const moved = { ...presentForm(message), parent };
    parent = message.id;
    return moved;
  });
  return { ...record, format: FORMAT, messages, chosen: {} };
}

function presentForm(message) {
  if (message.role === "user") return { files: [], ...message };
  const { thought = false, ...answer } = message;
  // The first format had an answer that was cut while the model still thought in `text`.
  const isThinking = thought && answer.state === "done";
  // Another key: what this page asks for isn't what the one before asked for by the same.
  const unsent = answer.state === "running" && !answer.jobId;
  return { ...NOTHING_SAID, ...answer, text: isThinking ? "" : answer.text,
    reasoning: isThinking ? answer.text : "", ...(unsent ? { key: newId() } : {}) };
}

function childrenOf(conversation) {
  const children = new Map();
  for (const message of conversation.messages) {
    const parent = key(message.parent);
    children.set(parent, [...(children.get(parent) ?? []), message]);
  }
  return children;
}

/** The messages on the way of chosen versions, first to last. */
export function shown(conversation) {
  const children = childrenOf(conversation), path = [];
  for (let parent = ""; children.has(parent); parent = path.at(-1).id) {
    const versions = children.get(parent);
    const chosen = conversation.chosen[parent];
    path.push(versions.find(({ id }) => id === chosen) ?? versions.at(-1));
  }
  return path;
}

/** The messages before one, first to last, whether they are shown or not. */
export function before(conversation, { parent }) {
  const byId = new Map(conversation.messages.map((message) => [message.id, message]));
  const found = [];
  for (let one = byId.get(parent); one; one = byId.get(one.parent)) found.unshift(one);
  return found;
}

/** All versions of a message, in the order in which they were made; it is one of them. */
export const versions = (conversation, message) =>
  conversation.messages.filter(({ parent }) => key(parent) === key(message.parent));

/** Add a message behind another (null: at the beginning), and choose it. */
export function add(conversation, message, parent) {
  message.parent = parent;
  conversation.messages.push(message);
  choose(conversation, message);
}

export function choose(conversation, message) {
  conversation.chosen[key(message.parent)] = message.id;
}

/** Put a message in the place of another; the other stays as a version if something follows it. */
export function replace(conversation, old, message) {
  const hasNext = conversation.messages.some(({ parent }) => parent === old.id);
  if (!hasNext)
    conversation.messages = conversation.messages.filter(({ id }) => id !== old.id);
  add(conversation, message, old.parent);
}

/** The ids of all images of a conversation. */
export const imagesOf = ({ messages }) => messages.flatMap((message) => message.images ?? []);

/** The same conversation under other ids, beside the one that it was copied from. */
export function copyOf(conversation) {
  const ids = new Map(conversation.messages.map(({ id }) => [id, newId()]));
  const renamed = (id) => ids.get(id) ?? null;
  return { ...conversation, id: newId(),
    messages: conversation.messages.map(
      (message) => ({ ...message, id: renamed(message.id), parent: renamed(message.parent) })),
    chosen: Object.fromEntries(Object.entries(conversation.chosen).map(
      ([parent, id]) => [key(renamed(parent)), renamed(id)])) };
}

/** The answer that is being written, or null. */
export const runningIn = (conversation) => conversation?.messages
  .find(({ role, state }) => role === "assistant" && state === "running") ?? null;

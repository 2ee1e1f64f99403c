// The conversations: their messages, the one that is open, the answers that are running, and saving
// them. An EventTarget. Events: "list" (names, order, which is open), "open" (show the open one
// again; detail: whether only a version was chosen), "answer" (detail: the record of an answer of
// the open one that has changed), "problem" (detail: words). Knows nothing of the page.

import { stopJob } from "./api.js";
import { Follower } from "./follower.js";
import { asDataUrl } from "./images.js";
import { requestFor } from "./request.js";
import { Saver } from "./saver.js";
import { newId } from "./store.js";
import {
  FORMAT, add, choose, imagesOf, migrated, replace, runningIn, shown, versions,
} from "./tree.js";

const TITLE_LENGTH = 60;

const tokensOf = (answer) => (answer?.saidTokens ?? 0) + (answer?.usage?.completion_tokens ?? 0);

export class Chats extends EventTarget {
  constructor(store) {
    super();
    this.open = null; // null: a new chat, not saved before its first message
    this._store = store;
    this._all = new Map();
    this._followers = new Map(); // by answer id
    this._statuses = new Map();
    this._saver = new Saver(store, {
      changedElsewhere: (id) => this._changedElsewhere(id),
      full: () =>
        this._emit("problem", "This browser's storage is too full to save the conversation."),
    });
  }

  /** Load the saved conversations and follow the answers that were running. */
  async start() {
    for (const conversation of await this._store.conversations.all())
      this._all.set(conversation.id, migrated(conversation));
    for (const conversation of this._all.values()) this._resume(conversation);
    this._emit("list");
  }

  /** All conversations, pinned ones before others, and of each the newest first. */
  list() {
    return [...this._all.values()].sort((one, other) =>
      Boolean(other.pinned) - Boolean(one.pinned) || other.updated - one.updated);
  }

  select(id) {
    this.open = this._all.get(id) ?? null;
    this._emit("list");
    this._emit("open");
    return this.open !== null || id === null;
  }

  /** The open conversation's messages, in the chosen versions. */
  shown() {
    return this.open ? shown(this.open) : [];
  }

  /** All versions of a message of the open conversation. */
  versions(message) {
    return versions(this.open, message);
  }

  /** The running answer of a conversation, or null. */
  running(conversation = this.open) {
    return runningIn(conversation);
  }

  /** The status line of a running answer; empty while its text arrives. */
  status(answer) {
    return this._statuses.get(answer.id) ?? (answer.text || answer.reasoning ? "" : "Sending");
  }

  /**
   * Send a message in the open conversation, or in a new one. `images` are prepared ones, `files`
   * have a name and a text.
   */
  async send(text, { images, files }, settings) {
    if (this.running()) return;
    const begun = this.open;
    const ids = await Promise.all(images.map((image) => this._keepImage(image)));
    const conversation = begun ?? this._begin(text || files[0]?.name || "Image");
    const message = { id: newId(), role: "user", text, images: ids, files };
    add(conversation, message, shown(conversation).at(-1)?.id ?? null);
    this._ask(conversation, message.id, settings);
  }

  /** Ask again with another text in place of a message's; that becomes a version of it. */
  resend({ id }, text, settings) {
    const message = this._find(id);
    if (this.running() || !message) return;
    const edited = { ...message, id: newId(), text };
    add(this.open, edited, message.parent);
    this._ask(this.open, edited.id, settings);
  }

  /** Ask again for an answer: another version of it. */
  regenerate({ id }, settings) {
    const answer = this._find(id);
    if (!this.running() && answer) this._ask(this.open, answer.parent, settings);
  }

  /** Have an answer go on in its own words. */
  goOn({ id }, settings) {
    const begun = this._find(id);
    if (!this.running() && begun) this._ask(this.open, begun.parent, settings, begun);
  }

  /** Show another version of a message, `step` further on in their order; returns it. */
  turnTo({ id }, step) {
    const message = this._find(id);
    if (!message || this.running()) return null;
    const all = this.versions(message);
    const wanted = all[all.indexOf(message) + step];
    if (!wanted) return null;
    choose(this.open, wanted);
    this._saver.save(this.open);
    this._emit("open", true);
    return wanted;
  }

  stop() {
    const answer = this.running();
    if (answer) this._followers.get(answer.id)?.stop();
  }

  rename(id, title) {
    const conversation = this._all.get(id);
    conversation.title = title.trim() || conversation.title;
    this._saver.save(conversation);
    this._emit("list");
  }

  /** Keep a conversation above the others, or no longer. */
  pin(id, pinned) {
    const conversation = this._all.get(id);
    conversation.pinned = pinned;
    this._saver.save(conversation);
    this._emit("list");
  }

  /** Add conversations from elsewhere, in the present format; images are `{id, blob}`. */
  async adopt(conversations, images) {
    for (const image of images) await this._store.images.put(image);
    for (const conversation of conversations) {
      this._all.set(conversation.id, conversation);
      this._saver.save(conversation);
    }
    this._emit("list");
  }

  /**
   * Delete a conversation; the function that is returned brings it back, until `forget` is called
   * with its id.
   */
  delete(id) {
    const conversation = this._all.get(id);
    const answer = this.running(conversation);
    if (answer) this._abandon(answer);
    this._all.delete(id);
    this._saver.remove(id);
    if (this.open === conversation) this.select(null);
    this._emit("list");
    return () => {
      this._all.set(id, conversation);
      this._saver.save(conversation);
      this._emit("list");
    };
  }

  /** Drop the images of a deleted conversation, unless it was brought back or another has them. */
  forget(conversation) {
    if (this._all.has(conversation.id)) return;
    const needed = new Set([...this._all.values()].flatMap(imagesOf));
    for (const id of imagesOf(conversation))
      if (!needed.has(id)) this._store.images.delete(id).catch(() => {});
  }

  async image(id) {
    return (await this._store.images.get(id))?.blob ?? null;
  }

  /** Save everything that is not saved yet, before the page is closed. */
  flush() {
    this._saver.flush();
  }

  /** A message of the open conversation. By id: another tab may have replaced the records. */
  _find(id) {
    return this.open?.messages.find((message) => message.id === id);
  }

  _begin(text) {
    const now = Date.now();
    const line = text.trim().split("\n")[0];
    const title = line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH).trimEnd()}…` : line;
    const conversation = { id: newId(), format: FORMAT, title, created: now, updated: now,
      pinned: false, messages: [], chosen: {} };
    this._all.set(conversation.id, conversation);
    this.open = conversation;
    return conversation;
  }

  /** Ask for an answer to the message with this id, or for the rest of one that is `begun`. */
  _ask(conversation, parent, settings, begun = null) {
    const said = begun?.text ?? "", thought = begun?.reasoning ?? "";
    const answer = {
      id: newId(), role: "assistant", text: said, reasoning: thought, state: "running",
      settings: { ...settings }, key: newId(), jobId: null, created: Date.now(),
      cursor: 0, warnings: [], error: null, finish: null, usage: null, timings: null,
      thinkingSince: null, thoughtMs: begun?.thoughtMs ?? 0,
      // What earlier chats have said of it: text, thinking, its time, and tokens.
      said, saidReasoning: thought, saidMs: begun?.thoughtMs ?? 0, saidTokens: tokensOf(begun),
    };
    if (begun) answer.settings = { ...begun.settings, maxTokens: settings.maxTokens };
    if (begun) replace(conversation, begun, answer);
    else add(conversation, answer, parent);
    conversation.updated = Date.now();
    conversation.settings = { ...settings };
    // Before it is sent: after a reload the same chat is asked for, by its key.
    this._saver.save(conversation);
    this._emit("list");
    this._emit("open");
    this._follow(conversation, answer);
  }

  _resume(conversation) {
    const answer = this.running(conversation);
    if (answer) this._follow(conversation, answer);
  }

  _follow(conversation, answer) {
    const changed = () => {
      if (this.open === conversation) this._emit("answer", answer);
    };
    const request = () => requestFor(conversation, answer, (id) => this.dataUrl(id));
    const follower = new Follower(answer, request, {
      started: () => this._saver.save(conversation),
      status: (words) => {
        this._statuses.set(answer.id, words);
        changed();
      },
      text: () => {
        this._statuses.delete(answer.id);
        this._saver.soon(conversation);
        changed();
      },
      ended: () => {
        this._followers.delete(answer.id);
        this._statuses.delete(answer.id);
        if (this._all.has(conversation.id)) this._saver.save(conversation);
        changed();
        this._emit("list");
      },
    });
    this._followers.set(answer.id, follower);
    follower.run();
  }

  /** Stop an answer whose conversation was deleted. */
  _abandon(answer) {
    this._followers.get(answer.id)?.leave();
    this._followers.delete(answer.id);
    if (answer.jobId) stopJob(answer.jobId).catch(() => {});
    Object.assign(answer, { state: "done", finish: "cancelled" });
  }

  async _keepImage({ blob, width, height }) {
    const id = newId();
    await this._store.images.put({ id, blob, width, height });
    return id;
  }

  /** An image as a data: URL; throws when it is gone. */
  async dataUrl(id) {
    const blob = await this.image(id);
    if (!blob) throw new Error("an image of this conversation is no longer in the browser");
    return asDataUrl(blob);
  }

  /** Another tab has saved or deleted a conversation. This tab alone saves what it follows. */
  async _changedElsewhere(id) {
    const stored = await this._store.conversations.get(id);
    const saved = stored && migrated(stored);
    const known = this._all.get(id);
    // The other tab had not heard of the last question yet.
    if (known && saved?.updated < known.updated) return this._saver.save(known);
    const answer = known && this.running(known);
    if (answer && saved?.messages.some((message) => message.id === answer.id)) return;
    if (answer) this._followers.get(answer.id)?.leave();
    if (saved) this._all.set(id, saved);
    else this._all.delete(id);
    if (saved) this._resume(saved);
    if (this.open?.id === id) this.select(saved ? id : null);
    else this._emit("list");
  }

  _emit(name, detail = null) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

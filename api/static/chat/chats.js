// The conversations: their messages, the one that is open, the answers that are running, and saving
// them. An EventTarget. Events: "list" (names, order, which is open), "open" (show the open one
// again), "answer" (detail: the record of an answer of the open one that has changed), "problem"
// (detail: words). Knows nothing of the page.

import { stopJob } from "./api.js";
import { Follower } from "./follower.js";
import { asDataUrl } from "./images.js";
import { requestFor } from "./request.js";
import { newId } from "./store.js";

const SAVE_MS = 400; // while text comes; a reload asks the service for what is missing anyway
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
    this._saving = new Map(); // timers by conversation id
    this._channel = new BroadcastChannel(store.name);
    this._channel.onmessage = ({ data }) => this._changedElsewhere(data);
  }

  /** Load the saved conversations and follow the answers that were running. */
  async start() {
    for (const conversation of await this._store.conversations.all())
      this._all.set(conversation.id, conversation);
    for (const conversation of this._all.values()) this._resume(conversation);
    this._emit("list");
  }

  /** All conversations, the newest first. */
  list() {
    return [...this._all.values()].sort((one, other) => other.updated - one.updated);
  }

  select(id) {
    this.open = this._all.get(id) ?? null;
    this._emit("list");
    this._emit("open");
    return this.open !== null || id === null;
  }

  /** The running answer of a conversation, or null. */
  running(conversation = this.open) {
    const last = conversation?.messages.at(-1);
    return last?.role === "assistant" && last.state === "running" ? last : null;
  }

  /** The status line of a running answer. */
  status(answer) {
    return this._statuses.get(answer.id) ?? "Sending";
  }

  /** Send a message in the open conversation, or in a new one. `images` are prepared ones. */
  async send(text, images, settings) {
    if (this.running()) return;
    const ids = await Promise.all(images.map((image) => this._keepImage(image)));
    const conversation = this.open ?? this._begin(text);
    conversation.messages.push({ id: newId(), role: "user", text, images: ids });
    this._ask(conversation, settings);
  }

  /** Replace the text of a message and ask again; the messages after it are removed. */
  resend(message, text, settings) {
    const conversation = this.open;
    const index = this._indexOf(message);
    if (this.running() || index < 0) return;
    const last = conversation.messages.splice(index);
    conversation.messages.push({ ...message, id: newId(), text });
    this._dropImages(last.slice(1));
    this._ask(conversation, settings);
  }

  /** Ask again for an answer; the messages after it are removed. */
  regenerate(answer, settings) {
    const index = this._indexOf(answer);
    if (this.running() || index < 0) return;
    this._dropImages(this.open.messages.splice(index));
    this._ask(this.open, settings);
  }

  /** Have an answer go on in its own words; the messages after it are removed. */
  goOn(answer, settings) {
    const index = this._indexOf(answer);
    if (this.running() || index < 0) return;
    const [begun, ...later] = this.open.messages.splice(index);
    this._dropImages(later);
    this._ask(this.open, settings, begun);
  }

  stop() {
    const answer = this.running();
    if (answer) this._followers.get(answer.id)?.stop();
  }

  rename(id, title) {
    const conversation = this._all.get(id);
    conversation.title = title.trim() || conversation.title;
    this._save(conversation);
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
    this._store.conversations.delete(id).catch(() => {});
    this._channel.postMessage(id);
    if (this.open === conversation) this.select(null);
    this._emit("list");
    return () => {
      this._all.set(id, conversation);
      this._save(conversation);
      this._emit("list");
    };
  }

  /** Drop the images of a deleted conversation, unless it was brought back. */
  forget(conversation) {
    if (!this._all.has(conversation.id)) this._dropImages(conversation.messages);
  }

  async image(id) {
    return (await this._store.images.get(id))?.blob ?? null;
  }

  /** Save everything that is not saved yet, before the page is closed. */
  flush() {
    for (const [id, timer] of this._saving) {
      clearTimeout(timer);
      this._write(this._all.get(id));
    }
    this._saving.clear();
  }

  /**
   * The index of a message in the open conversation. By id: another tab may have replaced the
   * records.
   */
  _indexOf({ id }) {
    return this.open.messages.findIndex((message) => message.id === id);
  }

  _begin(text) {
    const now = Date.now();
    const line = text.trim().split("\n")[0] || "Image";
    const title = line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH).trimEnd()}…` : line;
    const conversation = { id: newId(), title, created: now, updated: now, messages: [] };
    this._all.set(conversation.id, conversation);
    this.open = conversation;
    return conversation;
  }

  /** Ask for an answer, or for the rest of one that is `begun`. */
  _ask(conversation, settings, begun = null) {
    const said = begun?.text ?? "";
    const answer = {
      id: newId(), role: "assistant", text: said, state: "running", settings: { ...settings },
      key: newId(), jobId: null,
      cursor: 0, warnings: [], error: null, finish: null, usage: null, timings: null,
      // What an earlier chat has said of it: the text, its tokens, whether all of it is thinking.
      said, saidTokens: tokensOf(begun), thought: begun?.thought ?? false,
    };
    if (begun) answer.settings = { ...begun.settings, maxTokens: settings.maxTokens };
    conversation.messages.push(answer);
    conversation.updated = Date.now();
    conversation.settings = { ...settings };
    // Before it is sent: after a reload the same chat is asked for, by its key.
    this._save(conversation);
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
    const request = () => requestFor(conversation, answer, (id) => this._dataUrl(id));
    const follower = new Follower(answer, request, {
      started: () => this._save(conversation),
      status: (words) => {
        this._statuses.set(answer.id, words);
        changed();
      },
      text: () => {
        this._statuses.delete(answer.id);
        this._saveSoon(conversation);
        changed();
      },
      ended: () => {
        this._followers.delete(answer.id);
        this._statuses.delete(answer.id);
        if (this._all.has(conversation.id)) this._save(conversation);
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

  async _dataUrl(id) {
    const blob = await this.image(id);
    if (!blob) throw new Error("an image of this conversation is no longer in the browser");
    return asDataUrl(blob);
  }

  _dropImages(messages) {
    for (const id of messages.flatMap((message) => message.images ?? []))
      this._store.images.delete(id).catch(() => {});
  }

  _saveSoon(conversation) {
    const { id } = conversation;
    if (this._saving.has(id)) return;
    this._saving.set(id, setTimeout(() => this._save(conversation), SAVE_MS));
  }

  _save(conversation) {
    clearTimeout(this._saving.get(conversation.id));
    this._saving.delete(conversation.id);
    this._write(conversation);
    this._channel.postMessage(conversation.id);
  }

  _write(conversation) {
    if (!conversation) return;
    this._store.conversations.put(conversation).catch(() => {
      this._emit("problem", "This browser's storage is too full to save the conversation.");
    });
  }

  /** Another tab has saved or deleted a conversation. This tab alone saves what it follows. */
  async _changedElsewhere(id) {
    const saved = await this._store.conversations.get(id);
    const known = this._all.get(id);
    const answer = known && this.running(known);
    if (answer && saved?.messages.at(-1)?.id === answer.id) return;
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

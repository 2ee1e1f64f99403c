// Saves conversations, and tells the other tabs of this browser.

const SAVE_MS = 400; // while text comes; a reload asks the service for what is missing anyway

export class Saver {
  /** `on`: changedElsewhere(id), in another tab; full(), when there is no room. */
  constructor(store, on) {
    this._records = store.conversations;
    this._on = on;
    this._waiting = new Map(); // conversation and timer by id
    this._channel = new BroadcastChannel(store.name);
    this._channel.onmessage = ({ data }) => on.changedElsewhere(data);
  }

  /** Save a conversation within a moment. */
  soon(conversation) {
    const { id } = conversation;
    if (this._waiting.has(id)) return;
    const timer = setTimeout(() => this.save(conversation), SAVE_MS);
    this._waiting.set(id, { conversation, timer });
  }

  /** The other tabs read it when they are told: not before it is stored. */
  async save(conversation) {
    this._forgetTimer(conversation.id);
    await this._write(conversation);
    this._channel.postMessage(conversation.id);
  }

  /** Save what waits, before the page is closed. */
  flush() {
    for (const { conversation, timer } of this._waiting.values()) {
      clearTimeout(timer);
      this._write(conversation);
    }
    this._waiting.clear();
  }

  async remove(id) {
    this._forgetTimer(id);
    await this._records.delete(id).catch(() => {});
    this._channel.postMessage(id);
  }

  _forgetTimer(id) {
    clearTimeout(this._waiting.get(id)?.timer);
    this._waiting.delete(id);
  }

  _write(conversation) {
    return this._records.put(conversation).catch(() => this._on.full());
  }
}

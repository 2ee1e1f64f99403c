// What was begun in the message field and not sent, for each conversation: its text in local
// storage, which is written at once, and its files and images in IndexedDB, which holds more.

const NAME = "mlxq-drafts";
const NEW = ""; // the conversation that has not begun
const NOTHING = { text: "", attached: [] };
const MOST = 200_000; // characters of all texts; browsers refuse to store more than some megabytes

export class Drafts {
  /**
   * `store` is what openDrafts opens; `notKept` is called with the id of a conversation whose files
   * could not be stored.
   */
  constructor({ suffix }, store, notKept) {
    this._name = `${NAME}${suffix}`;
    this._store = store.attached;
    this._notKept = notKept;
    this._texts = this._stored();
    this._attached = new Map();
  }

  /** Read what was attached, before anything is asked for. */
  async load() {
    for (const { id, attached } of await this._store.all()) this._attached.set(id, attached);
  }

  /** `{text, attached}` of a conversation; null is the one that has not begun. */
  of(id) {
    return { text: this._texts[id ?? NEW] ?? "", attached: this._attached.get(id ?? NEW) ?? [] };
  }

  /** Forget the drafts of conversations that are gone; `ids` are those that are there. */
  prune(ids) {
    const kept = new Set([NEW, ...ids]);
    for (const id of [...Object.keys(this._texts), ...this._attached.keys()])
      if (!kept.has(id)) this.set(id, NOTHING);
  }

  set(id, { text, attached }) {
    this._setText(id ?? NEW, text);
    this._setAttached(id ?? NEW, attached);
  }

  _setText(id, text) {
    // Another tab may have written other conversations' drafts.
    this._texts = { ...this._stored(), [id]: text };
    if (!text.trim()) delete this._texts[id];
    const kept = JSON.stringify(this._texts);
    if (kept.length > MOST) return;
    try {
      localStorage.setItem(this._name, kept);
    } catch { /* storage is forbidden or full: drafts last as long as this page */ }
  }

  /** The list is another one whenever something in it has changed. */
  _setAttached(id, attached) {
    if (attached === this._attached.get(id)) return;
    if (attached.length === 0) {
      if (this._attached.delete(id)) this._store.delete(id).catch(() => {});
      return;
    }
    this._attached.set(id, attached);
    this._store.put({ id, attached }).catch(() => {
      this._store.delete(id).catch(() => {}); // or a list that is out of date would come back
      this._notKept(id === NEW ? null : id);
    });
  }

  _stored() {
    try {
      const stored = JSON.parse(localStorage.getItem(this._name) ?? "{}");
      return stored && typeof stored === "object" && !Array.isArray(stored) ? stored : {};
    } catch {
      return this._texts ?? {};
    }
  }
}

// What was begun in the message field and not sent, for each conversation. Texts outlive the page;
// files and images last as long as it does.

const NAME = "mlxq-drafts";
const NEW = ""; // the conversation that has not begun
const NOTHING = { text: "", attached: [] };
const MOST = 200_000; // characters of all texts; browsers refuse to store more than some megabytes

export class Drafts {
  constructor({ suffix }) {
    this._name = `${NAME}${suffix}`;
    this._texts = this._stored();
    this._attached = new Map();
  }

  /** `{text, attached}` of a conversation; null is the one that has not begun. */
  of(id) {
    return { text: this._texts[id ?? NEW] ?? "", attached: this._attached.get(id ?? NEW) ?? [] };
  }

  /** Forget the drafts of conversations that are gone; `ids` are those that are there. */
  prune(ids) {
    const kept = new Set([NEW, ...ids]);
    for (const id of Object.keys(this._texts)) if (!kept.has(id)) this.set(id, NOTHING);
  }

  set(id, { text, attached }) {
    // Another tab may have written other conversations' drafts.
    this._texts = { ...this._stored(), [id ?? NEW]: text };
    if (!text.trim()) delete this._texts[id ?? NEW];
    if (attached.length) this._attached.set(id ?? NEW, attached);
    else this._attached.delete(id ?? NEW);
    const kept = JSON.stringify(this._texts);
    if (kept.length > MOST) return;
    try {
      localStorage.setItem(this._name, kept);
    } catch { /* storage is forbidden or full: drafts last as long as this page */ }
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

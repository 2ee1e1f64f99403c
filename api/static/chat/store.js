// Stores records in the browser: in IndexedDB, or in memory where that is forbidden (`kept` is
// false). One store per reader. Knows records by their id and nothing of their content.

/** A reader's conversations and images. */
export const openStore = ({ suffix }) => storeOf(`mlxq-chat${suffix}`, ["conversations", "images"]);

/**
 * What is attached to a reader's drafts. A database apart: another version of the first could not
 * be opened while the page of the release before is open in another tab.
 */
export const openDrafts = ({ suffix }) => storeOf(`mlxq-drafts${suffix}`, ["attached"]);

/** Never fails: in the worst case its data is lost with the page. */
async function storeOf(name, stores) {
  try {
    const database = await opened(name, stores);
    return Object.freeze({ name, kept: true,
      ...Object.fromEntries(stores.map((one) => [one, new IndexedDbStore(database, one)])) });
  } catch {
    return Object.freeze(
      { name, kept: false, ...Object.fromEntries(stores.map((one) => [one, new MemoryStore()])) });
  }
}

function opened(name, stores) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      for (const one of stores) request.result.createObjectStore(one, { keyPath: "id" });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("another tab holds an older version open"));
  });
}

class IndexedDbStore {
  constructor(database, name) {
    this._database = database;
    this._name = name;
  }

  all() { return this._run("readonly", (store) => store.getAll()); }
  get(id) { return this._run("readonly", (store) => store.get(id)); }
  put(record) { return this._run("readwrite", (store) => store.put(record)); }
  delete(id) { return this._run("readwrite", (store) => store.delete(id)); }

  _run(mode, ask) {
    return new Promise((resolve, reject) => {
      const transaction = this._database.transaction(this._name, mode);
      const request = ask(transaction.objectStore(this._name));
      // At once: a page that is being left is not asked any more.
      if (mode === "readwrite") transaction.commit();
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error ?? new Error("not stored"));
    });
  }
}

class MemoryStore {
  constructor() { this._records = new Map(); }
  async all() { return [...this._records.values()]; }
  async get(id) { return this._records.get(id); }
  async put(record) { this._records.set(record.id, structuredClone(record)); }
  async delete(id) { this._records.delete(id); }
}

/** A random id. Not crypto.randomUUID, which needs a secure page. */
export function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

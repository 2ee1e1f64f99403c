// Who reads: the owner of the key that this browser has signed in with. What the browser keeps is kept by reader, and the
// page goes away when the reader signs out or is another one by now. Without API keys all are the same reader.

import { byId } from "../dom.js";
import { endSession, session, sessionNow } from "./api.js";

const SIGN_IN = "/login";
const AGAIN_MS = 2000;

/** Ask the service until it answers; `problem` is called with words, or none when it is over. */
export async function whoReads(problem) {
  for (;;) {
    try {
      const told = await session();
      problem("");
      return new Reader(told, problem);
    } catch ({ message }) {
      problem(message);
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

class Reader {
  constructor(told, problem) {
    /** Ends the names of what is kept for this reader alone. */
    this.suffix = suffixOf(told);
    this._problem = problem;
    this._tabs = new BroadcastChannel("mlxq-session");
    this._tabs.onmessage = () => leave(SIGN_IN);
    byId("signed-in").hidden = !told.keys;
    byId("owner").textContent = told.owner;
    byId("sign-out").addEventListener("click", () => this.signOut());
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
    // A page that the browser has kept in memory, and shows again when somebody goes back to it.
    addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
  }

  /** End the session, in all tabs of this browser. Answers on their way go on, and are there at the next sign-in. */
  async signOut() {
    try {
      await endSession();
    } catch (problem) {
      if (problem.status !== 401) return this._problem(problem.message);
    }
    this._tabs.postMessage("signed out");
    leave(SIGN_IN);
  }

  /** Look whether this is the reader still; if another one has signed in, the page goes, and this never resolves. */
  async look() {
    const told = await sessionNow().catch(() => null); // not known: the next request will tell
    if (told === null || suffixOf(told) === this.suffix) return;
    leave("/");
    await new Promise(() => {});
  }
}

const suffixOf = ({ owner, keys }) => (keys ? `-${owner}` : "");

function leave(address) {
  document.body.hidden = true; // at once, and for whoever goes back to it
  location.replace(address);
}

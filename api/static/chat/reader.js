// The reader: the owner of the API key that this browser is signed in with. Conversations are
// stored per reader, and the page is left when the reader signs out or another one signs in.
// Without API keys there is one reader.

import { byId } from "../dom.js";
import { endSession, session, sessionNow } from "./api.js";

const SIGN_IN = "/login";
const AGAIN_MS = 2000;

/** Ask the service until it answers; `problem` is called with words, or none when it is over. */
export async function whoReads(problem) {
  for (;;) {
    try {
      const identity = await session();
      problem("");
      return new Reader(identity, problem);
    } catch ({ message }) {
      problem(message);
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

class Reader {
  constructor(identity, problem) {
    /** The end of the names under which the browser stores this reader's data. */
    this.suffix = suffixOf(identity);
    this._problem = problem;
    this._tabs = new BroadcastChannel("mlxq-session");
    this._tabs.onmessage = () => leave(SIGN_IN);
    byId("signed-in").hidden = !identity.keys;
    byId("owner").textContent = identity.owner;
    byId("sign-out").addEventListener("click", () => this.signOut());
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
    // The browser may keep the page in memory and show it again on the way back.
    addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
  }

  /**
   * End the session in all tabs of this browser. Running answers continue and are there at the next
   * sign-in.
   */
  async signOut() {
    try {
      await endSession();
    } catch (problem) {
      if (problem.status !== 401) return this._problem(problem.message);
    }
    this._tabs.postMessage("signed out");
    leave(SIGN_IN);
  }

  /**
   * Check that the reader is still signed in; if another one is, leave the page, and never resolve.
   */
  async look() {
    const identity = await sessionNow().catch(() => null); // unknown: the next request finds out
    if (identity === null || suffixOf(identity) === this.suffix) return;
    leave("/");
    await new Promise(() => {});
  }
}

const suffixOf = ({ owner, keys }) => (keys ? `-${owner}` : "");

function leave(address) {
  document.body.hidden = true; // at once, and also when somebody navigates back to it
  location.replace(address);
}

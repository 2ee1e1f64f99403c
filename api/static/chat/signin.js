// Asks for an API key when the service requires one while the page is open: the session has ended,
// or keys were added. The same form as on the sign-in page; the service sets a cookie that scripts
// can't read.

import { byId } from "../dom.js";
import { onSignedOut } from "./api.js";

const PATH = "/login";

/** `signedIn` is called after the sign-in; refused requests are then sent again. */
export function askForKeys(signedIn) {
  let asking = null;
  onSignedOut(() => (asking ??= ask().then(signedIn).finally(() => { asking = null; })));
}

/** Resolves when the service has accepted a key. */
function ask() {
  const dialog = byId("sign-in"), form = byId("sign-in-form"), problem = byId("sign-in-problem");
  return new Promise((resolve) => {
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    form.onsubmit = async (event) => {
      event.preventDefault();
      const words = await signIn(byId("key").value);
      problem.textContent = words;
      problem.hidden = words === "";
      if (words) return byId("key").select();
      byId("key").value = "";
      dialog.close();
      resolve();
    };
    if (!dialog.open) dialog.showModal();
  });
}

/** Sign in; the reason if that failed, else an empty text. */
async function signIn(key) {
  try {
    const answer =
      await fetch(PATH, { method: "POST", body: new URLSearchParams({ key, next: "/" }) });
    if (answer.ok) return "";
    return answer.status === 401 ? "Unknown API key." : "Signing in failed.";
  } catch {
    return "The service can't be reached.";
  }
}

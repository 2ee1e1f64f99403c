// Asks for an API key when the service wants one while the page is open: a session has ended, or keys are new here.
// The same form as the sign-in page's; the service answers with a cookie that scripts can't read.

import { byId } from "../dom.js";
import { onSignedOut } from "./api.js";

const PATH = "/login";

/** `signedIn` is called when a key was taken; what was refused is asked for again after it. */
export function askForKeys(signedIn) {
  let asking = null;
  onSignedOut(() => (asking ??= ask().then(signedIn).finally(() => { asking = null; })));
}

/** Resolves when the service has taken a key. */
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

/** Sign in; what to tell the reader if that failed. */
async function signIn(key) {
  try {
    const answer = await fetch(PATH, { method: "POST", body: new URLSearchParams({ key, next: "/" }) });
    if (answer.ok) return "";
    return answer.status === 401 ? "This key is not known here." : "That did not work.";
  } catch {
    return "The service cannot be reached.";
  }
}

// Asks for an API key when the service wants one. The service keeps it in a cookie that scripts can't read.

import { byId } from "../dom.js";
import { onSignedOut } from "./api.js";

const PATH = "/api/session";

export function askForKeys() {
  let asking = null;
  onSignedOut(() => (asking ??= ask().finally(() => { asking = null; })));
}

/** Resolves when the service has taken a key. */
function ask() {
  const dialog = byId("sign-in"), form = byId("sign-in-form"), problem = byId("sign-in-problem");
  return new Promise((resolve) => {
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    form.onsubmit = async (event) => {
      event.preventDefault();
      const words = await signedIn(byId("key").value);
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
async function signedIn(key) {
  try {
    const answer = await fetch(PATH, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ key }),
    });
    if (answer.ok) return "";
    return answer.status === 401 ? "This key is not known here." : ((await answer.json()).detail ?? "That did not work.");
  } catch {
    return "The service cannot be reached.";
  }
}

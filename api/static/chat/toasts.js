// A toast: a line that offers an action for a few seconds.

import { byId, element } from "../dom.js";

const STAYS_MS = 8000;

/** Offer an action; `otherwise` is called if it was not chosen in time. */
export function offer(words, label, run, otherwise) {
  const button = element("button", { type: "button", class: "button" }, label);
  const line =
    element("div", { class: "toast", role: "status" }, element("span", {}, words), button);
  const timer = setTimeout(() => {
    line.remove();
    otherwise();
  }, STAYS_MS);
  button.addEventListener("click", () => {
    clearTimeout(timer);
    line.remove();
    run();
  });
  byId("toasts").append(line);
}

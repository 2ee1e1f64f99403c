// A line at the page's edge that offers something for a few seconds.

import { byId, element } from "../dom.js";

const STAYS_MS = 8000;

/** Offer to do something; `otherwise` is called when the time is over. */
export function offer(words, label, run, otherwise) {
  const button = element("button", { type: "button", class: "button" }, label);
  const line = element("div", { class: "toast", role: "status" }, element("span", {}, words), button);
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

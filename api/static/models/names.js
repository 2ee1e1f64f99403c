// What people paste to name a model, as the service takes it.

const ADDRESS = /^https?:\/\/\S+$/i; // The service knows its hub's, and what they stand for.
const PART = "[A-Za-z0-9][\\w.-]{0,95}";
const REPOSITORY = new RegExp(`^${PART}/${PART}$`);
const SHORT = new RegExp(`^${PART}$`);

/**
 * The model that a text names: `owner/name`, also at the end of a command, an address of the hub,
 * or a packaged model's name. Null if it names none.
 */
export function wantedModel(text) {
  const word = text.trim().split(/\s+/).at(-1).replace(/^["'`<]+|["'`>]+$/g, "");
  return [ADDRESS, REPOSITORY, SHORT].some((form) => form.test(word)) ? word : null;
}

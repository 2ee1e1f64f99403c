// What people paste to name a model, as the service takes it.

const SITES = /^(?:[a-z]+:\/*)?(?:www\.)?(?:huggingface\.co|hf\.co|hf-mirror\.com)\//i;
const PART = "[A-Za-z0-9][\\w.-]{0,95}";
const REPOSITORY = new RegExp(`^${PART}/${PART}$`);
const SHORT = new RegExp(`^${PART}$`);

/**
 * The model that a text names: `owner/name`, also from an address of the hub or the end of a
 * command, or a packaged model's name. Null if it names none.
 */
export function wantedModel(text) {
  const word = text.trim().split(/\s+/).at(-1).replace(/^["'`<]+|["'`>]+$/g, "");
  const path = word.replace(SITES, "");
  if (path !== word) {
    const two = path.split(/[?#]/)[0].split("/").slice(0, 2).join("/");
    return REPOSITORY.test(two) ? two : null;
  }
  return REPOSITORY.test(word) || SHORT.test(word) ? word : null;
}

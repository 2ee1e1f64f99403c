// Text files for a message: read as text, their type and size checked. What they hold is sent as
// part of the message.

const MOST_BYTES = 256 * 1024; // of a file
const MOST_TOGETHER = 1024 * 1024; // characters of all files of a message
const IMAGE_NAMES = /\.(?:png|jpe?g|webp|gif)$/i;
const BINARY = [["%PDF-", "a PDF"], ["PK\x03\x04", "a zip archive or an office document"],
  ["\x1f\x8b", "a compressed file"], ["\xd0\xcf\x11\xe0", "an office document"]];

/** Its message is shown to the reader as it is. */
export class FileProblem extends Error {}

/** Whether a file is meant as an image: by its declared type or its name. */
export const isImage = ({ type, name }) => type.startsWith("image/") && type !== "image/svg+xml"
  || IMAGE_NAMES.test(name);

/** `{name, text}` of a text file beside `others`; throws a FileProblem. */
export async function textOf(file, others) {
  const name = file.name || "The file";
  const head = String.fromCharCode(...new Uint8Array(await file.slice(0, 8).arrayBuffer()));
  const [, kind] = BINARY.find(([mark]) => head.startsWith(mark)) ?? [];
  if (kind) {
    throw new FileProblem(`${name} is ${kind}, which this page can't read. ` +
      "Copy its text into the message, or save it as a text file.");
  }
  if (file.size > MOST_BYTES) {
    throw new FileProblem(
      `${name} has ${sizeWords(file.size)}. A text file can have ${sizeWords(MOST_BYTES)}.`);
  }
  const text = decoded(await file.arrayBuffer());
  if (text === null || text.includes("\0"))
    throw new FileProblem(`${name} is neither an image nor a text file in UTF-8.`);
  if (!text.trim()) throw new FileProblem(`${name} is empty.`);
  if (others.reduce((sum, other) => sum + other.text.length, text.length) > MOST_TOGETHER) {
    throw new FileProblem(
      `The files of a message can have ${sizeWords(MOST_TOGETHER)} together. ` +
      `${name} was left out.`);
  }
  return { name, text };
}

function decoded(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** A size in words: `12 KB`. */
export function sizeWords(bytes) {
  if (bytes < 1024) return bytes === 1 ? "1 byte" : `${bytes} bytes`;
  if (bytes < 1024 * 1024) return `${Math.round(bytes / 1024)} KB`;
  return `${(bytes / 1024 / 1024).toFixed(1).replace(/\.0$/, "")} MB`;
}

/** A file as it is sent to a model: its name, and its text in a fence that it can't close. */
export function asSentFile({ name, text }) {
  const longest = Math.max(2, ...[...text.matchAll(/`{3,}/g)].map(([run]) => run.length));
  const fence = "`".repeat(longest + 1);
  const kind = /\.([a-z0-9]{1,10})$/i.exec(name)?.[1].toLowerCase() ?? "";
  return `File ${name}:\n${fence}${kind}\n${text.replace(/\n$/, "")}\n${fence}`;
}

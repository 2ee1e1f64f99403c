// Text files and PDFs for a message: read as text, their type and size checked. What they hold is
// sent as part of the message.

import { PdfProblem, pdfText } from "./pdf.js";

const MOST_BYTES = 256 * 1024; // of a file
const MOST_TOGETHER = 1024 * 1024; // characters of all files of a message
const IMAGE_NAMES = /\.(?:png|jpe?g|webp|gif)$/i;
const BINARY = [["PK\x03\x04", "a zip archive or an office document"],
  ["\x1f\x8b", "a compressed file"], ["\xd0\xcf\x11\xe0", "an office document"]];

/** Its message is shown to the reader as it is. */
export class FileProblem extends Error {}

/** Whether a file is meant as an image: by its declared type or its name. */
export const isImage = ({ type, name }) => type.startsWith("image/") && type !== "image/svg+xml"
  || IMAGE_NAMES.test(name);

/** `{name, text}` of a text file or a PDF beside `others`; throws a FileProblem. */
export async function textOf(file, others) {
  const name = file.name || "The file";
  const text = await isPdf(file) ? await textOfPdf(file, name) : await textOfText(file, name);
  if (others().reduce((sum, other) => sum + other.text.length, text.length) > MOST_TOGETHER) {
    throw new FileProblem(
      `The files of a message can have ${sizeWords(MOST_TOGETHER)} together. ` +
      `${name} was left out.`);
  }
  return { name, text };
}

/** Whether a file is a PDF, also one with a few bytes before its mark. */
const isPdf = async (file) => file.type === "application/pdf" ||
  (await headOf(file)).startsWith("%PDF-");

const headOf = async (file) =>
  String.fromCharCode(...new Uint8Array(await file.slice(0, 8).arrayBuffer()));

async function textOfPdf(file, name) {
  try {
    return await pdfText(file, MOST_BYTES);
  } catch (problem) {
    if (!(problem instanceof PdfProblem)) throw problem;
    throw new FileProblem(`${name} ${problem.message}`);
  }
}

async function textOfText(file, name) {
  const head = await headOf(file);
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
  return text;
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
  const ending = /\.([a-z0-9]{1,10})$/i.exec(name)?.[1].toLowerCase() ?? "";
  const kind = ending === "pdf" ? "" : ending; // its text is sent, which is no PDF
  return `File ${name}:\n${fence}${kind}\n${text.replace(/\n$/, "")}\n${fence}`;
}

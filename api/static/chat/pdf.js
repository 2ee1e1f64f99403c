// The text of PDF files, by pdf.js, which is loaded with the first of them. A file is read by a
// worker of its own: nothing of it runs in the page, and it ends when the file was read or takes
// too long. Scripts, forms, fonts and pictures of a file are not used.

const LIBRARY = "/static/vendor/pdfjs/pdf.min.mjs";
const WORKER = "/static/vendor/pdfjs/pdf.worker.min.mjs";
const MOST_MS = 60_000;
const MOST_FILE = 50 * 1024 * 1024; // bytes; most of a large file are its pictures
const OPTIONS = { enableXfa: false, disableFontFace: true, useSystemFonts: true, useWasm: false,
  useWorkerFetch: false, isImageDecoderSupported: false };
const WORDS = {
  PasswordException: "is protected with a password. Save it without one.",
  InvalidPDFException: "is damaged, or no PDF.",
};
const NO_CMAP = "has Chinese, Japanese or Korean text in a form that this page can't read.";
const CONTROLS = /[\0-\x08\x0b-\x1f]/g; // all but tab and line end: the service takes no NUL

/** Its message goes behind the name of the file. */
export class PdfProblem extends Error {}

/** The text of a PDF, a blank line between its pages; throws a PdfProblem. */
export async function pdfText(file, mostBytes) {
  if (file.size > MOST_FILE) throw new PdfProblem("is larger than 50 MB.");
  const library = await import(LIBRARY).catch(() => {
    throw new PdfProblem("can't be read: the reader of PDFs could not be loaded.");
  });
  const worker = new Worker(WORKER, { type: "module" });
  let timer;
  const ended = new Promise((_, reject) => {
    timer = setTimeout(reject, MOST_MS, new PdfProblem("takes longer than a minute to read."));
    worker.addEventListener("error", () => reject(new Error("the worker failed")));
  });
  try {
    return await Promise.race([read(library, worker, file, mostBytes), ended]);
  } catch (error) {
    if (error instanceof PdfProblem) throw error;
    throw new PdfProblem(WORDS[error?.name] ?? "could not be read. It may be damaged.");
  } finally {
    clearTimeout(timer);
    worker.terminate();
  }
}

async function read({ getDocument, PDFWorker }, port, file, mostBytes) {
  // The files beside pdf.js are not here. It asks for a CMap where a PDF in Chinese, Japanese or
  // Korean doesn't say itself which characters it has, and would leave them out.
  let lacksCMap = false;
  class NoFiles {
    async fetch({ kind }) {
      lacksCMap ||= kind === "cMapUrl";
      throw new Error("not here");
    }
  }
  const data = new Uint8Array(await file.arrayBuffer());
  const worker = new PDFWorker({ port, verbosity: 0 });
  const pdf = await getDocument({ ...OPTIONS, data, worker, BinaryDataFactory: NoFiles }).promise;
  const pages = [], encoder = new TextEncoder(), decoder = new TextDecoder();
  let bytes = 0;
  for (let number = 1; number <= pdf.numPages; number += 1) {
    const { items } = await (await pdf.getPage(number)).getTextContent();
    const text = items.map(({ str, hasEOL }) => (hasEOL ? `${str}\n` : str)).join("")
      .replace(CONTROLS, "").trim();
    const encoded = encoder.encode(text); // without halves of surrogate pairs, which are refused
    bytes += encoded.length;
    if (text) pages.push(decoder.decode(encoded));
    if (lacksCMap) throw new PdfProblem(NO_CMAP);
    if (bytes > mostBytes)
      throw new PdfProblem(`has more text than a file can have: ${mostBytes / 1024} KB.`);
  }
  if (pages.length === 0)
    throw new PdfProblem("has no text. If its pages are pictures, attach them as images.");
  return `${pages.join("\n\n")}\n`;
}

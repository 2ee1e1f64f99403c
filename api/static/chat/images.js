// Images for a message: their type and size are checked, and large ones are scaled down.
// The service scales to four megapixels anyway, so nothing is lost by doing it before the upload.

const MOST_PIXELS = 4_194_304;
const MOST_BYTES = 4_000_000;
const MOST_FILE = 200_000_000; // bytes of a file that is opened at all
const MOST_DECODED = 120_000_000; // pixels
export const MOST_IMAGES = 16; // of a whole conversation

/** Its message is shown to the reader as it is. */
export class ImageProblem extends Error {}

/** `{blob, width, height}` of a file, ready to be sent; throws an ImageProblem. */
export async function prepared(file) {
  const name = file.name || "The image";
  if (file.size > MOST_FILE) throw new ImageProblem(`${name} is too large.`);
  const type = typeOf(new Uint8Array(await file.slice(0, 12).arrayBuffer()));
  if (!type) throw new ImageProblem(`${name} is not a PNG, JPEG, WebP or GIF image.`);
  const blob = file.type === type ? file : new Blob([file], { type });
  const picture = await createImageBitmap(blob).catch(() => {
    throw new ImageProblem(`${name} could not be opened. It may be truncated or damaged.`);
  });
  try {
    const { width, height } = picture;
    if (width * height > MOST_DECODED) throw new ImageProblem(`${name} has too many pixels.`);
    if (Math.max(width, height) > 200 * Math.min(width, height))
      throw new ImageProblem(`${name} is too long and narrow.`);
    if (width * height <= MOST_PIXELS && blob.size <= MOST_BYTES)
      return { blob: new Blob([blob], { type }), width, height };
    return await smaller(picture, type);
  } finally {
    picture.close();
  }
}

/** What a file is, by its first bytes: its name and declared type prove nothing. */
function typeOf(bytes) {
  const text = String.fromCharCode(...bytes);
  if (text.startsWith("\x89PNG\r\n\x1a\n")) return "image/png";
  if (text.startsWith("\xff\xd8\xff")) return "image/jpeg";
  if (text.startsWith("RIFF") && text.slice(8) === "WEBP") return "image/webp";
  if (text.startsWith("GIF87a") || text.startsWith("GIF89a")) return "image/gif";
  return null;
}

async function smaller(picture, type) {
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (picture.width * picture.height)));
  const width = Math.max(1, Math.floor(picture.width * scale)),
    height = Math.max(1, Math.floor(picture.height * scale));
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  // JPEG has no transparency, and the service puts pictures on white as well.
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(picture, 0, 0, width, height);
  const formats = type === "image/jpeg" ? [["image/jpeg", 0.9]]
    : [["image/png"], ["image/jpeg", 0.9]];
  for (const [as, quality] of formats) {
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, as, quality));
    if (blob && (blob.size <= MOST_BYTES || as === "image/jpeg")) return { blob, width, height };
  }
  throw new ImageProblem("The image could not be made smaller.");
}

/** A blob as a data: URL. */
export function asDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

// What was dropped or picked: the files of one photo, one folder of maps or one mesh, under the names the engine wants.

const MESHES = ["glb", "gltf", "obj", "ply", "stl"];
const IMAGES = ["png", "jpg", "jpeg", "webp", "tif", "tiff", "tga", "exr", "hdr", "ktx2", "dds"];
const suffix = (name: string): string => name.split(".").pop()!.toLowerCase();

export interface Picked { file: File; path: string }
export interface Chosen { files: Picked[]; main: string; label: string; folder: string }

export const isMesh = (path: string): boolean => MESHES.includes(suffix(path));
export const isShown = (path: string): boolean => ["png", "jpg", "jpeg", "webp"].includes(suffix(path));

/** What of `picked` makes one input; one: a single image. Throws an Error of one line. */
export function choose(picked: Picked[], one = false): Chosen {
  if (one && (picked.length > 1 || !IMAGES.includes(suffix(picked[0].path))))
    throw new Error(`${picked.length > 1 ? `${picked.length} files` : picked[0].path}: one image is wanted; drop ${IMAGES.slice(0, 4).join(", ")}`);
  const mesh = picked.find(({ path }) => isMesh(path));
  if (mesh) {
    const folder = mesh.path.slice(0, mesh.path.lastIndexOf("/") + 1);
    const wanted = ["glb", "stl"].includes(suffix(mesh.path)) ? [] : [...IMAGES, "bin", "mtl"];
    const beside = picked.filter(({ path }) => path.startsWith(folder) && wanted.includes(suffix(path)));
    const files = [mesh, ...beside].map(({ file, path }) => ({ file, path: path.slice(folder.length) }));
    return { files, main: files.length > 1 ? files[0].path : "", label: stem(mesh.path), folder: "" };
  }
  const images = picked.filter(({ path }) => IMAGES.includes(suffix(path)) || path.endsWith("material.json"));
  if (images.length === 0) {
    const what = picked.length === 1 ? picked[0].path : `${picked.length} files`;
    throw new Error(`${what}: no image and no mesh; drop ${IMAGES.slice(0, 4).join(", ")} or ${MESHES.join(", ")}`);
  }
  const depth = Math.min(...images.map(({ path }) => path.split("/").length));
  const flat = images.filter(({ path }) => path.split("/").length === depth);
  const files = flat.map(({ file, path }) => ({ file, path: path.split("/").pop()! })).sort((a, b) => a.path.localeCompare(b.path));
  const folder = flat[0].path.split("/").at(-2);
  const label = folder ?? common(files.map(({ path }) => stem(path)));
  const named = label.replace(/[\\/:*?"<>|]/g, "_").trim();
  return { files, main: "", label, folder: folder !== undefined || files.length > 1 ? named : "" };
}

const stem = (path: string): string => path.split("/").pop()!.replace(/\.[^.]+$/, "");

/** What the names begin with, for a label. */
function common(names: string[]): string {
  let length = names[0].length;
  for (const name of names) while (!name.startsWith(names[0].slice(0, length))) length--;
  return names[0].slice(0, length).replace(/[_\-. ]+$/, "") || names[0];
}

export const fromList = (files: Iterable<File>): Picked[] =>
  Array.from(files, (file) => ({ file, path: file.webkitRelativePath || file.name }));

/** The files that were dropped, those in folders too. */
export async function fromDrop(data: DataTransfer): Promise<Picked[]> {
  const entries = Array.from(data.items, (item) => item.webkitGetAsEntry?.() ?? null);
  if (entries.every((entry) => entry === null)) return fromList(data.files);
  const found: Picked[] = [];
  for (const entry of entries) if (entry) await walk(entry, found);
  return found;
}

async function walk(entry: FileSystemEntry, found: Picked[]): Promise<void> {
  if (found.length >= 1000) return; // as many as the service takes
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    found.push({ file, path: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return;
    for (const each of entries) await walk(each, found);
  }
}

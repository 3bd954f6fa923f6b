/** Files of a drop, those inside dropped folders included. */

import { mayBeImage } from './batches';

export async function filesOf(data: DataTransfer): Promise<File[]> {
  // Entries have to be taken before the first await: the list is emptied after the event.
  const entries = [...data.items]
    .filter((item) => item.kind === 'file')
    .map((item) => item.webkitGetAsEntry?.() ?? null);
  if (!entries.some((entry) => entry?.isDirectory)) return [...data.files];
  const files: File[] = [];
  for (const entry of entries) if (entry) await collect(entry, files, true);
  return files;
}

async function collect(entry: FileSystemEntry, into: File[], named: boolean): Promise<void> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    if (named || mayBeImage(file)) into.push(file);
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    // A reader hands out about a hundred entries a call, and none at the end.
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return;
    for (const child of entries) await collect(child, into, false);
  }
}

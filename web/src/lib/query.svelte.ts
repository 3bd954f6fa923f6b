/** The picture that is searched with: dropped, pasted or chosen, not stored. */

export interface Query {
  file: Blob;
  name: string;
  /** Object URL of `file`. */
  url: string;
}

export const query: { picture: Query | null } = $state({ picture: null });

export function setQuery(file: Blob, name: string): void {
  clearQuery();
  query.picture = { file, name, url: URL.createObjectURL(file) };
}

export function clearQuery(): void {
  if (query.picture) URL.revokeObjectURL(query.picture.url);
  query.picture = null;
}

/** First image of a paste or a drop. */
export function imageIn(data: DataTransfer | null): File | null {
  return [...(data?.files ?? [])].find((file) => file.type.startsWith('image/')) ?? data?.files[0] ?? null;
}

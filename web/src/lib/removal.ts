/** Deletes one image, after asking. */

import { deleteImage, thumbnailUrl } from './api';
import { ask, say, wordsOf } from './ask.svelte';
import { catalogue, libraryOf } from './library.svelte';

/** Resolves to whether the image is gone. */
export async function removeImage(collection: string, image: { id: string; name: string }): Promise<boolean> {
  const name = image.name || image.id;
  const sure = await ask({
    title: 'Delete this image?',
    text: `“${name}” will be deleted from “${collection}”. This cannot be undone.`,
    action: 'Delete',
    danger: true,
    pictures: [{ src: thumbnailUrl(collection, image.id), name }],
  });
  if (!sure) return false;
  try {
    await deleteImage(collection, image.id);
  } catch (error) {
    say(wordsOf(error), { bad: true });
    return false;
  }
  libraryOf(collection).remove([image.id]);
  void catalogue.load();
  say(`“${name}” was deleted.`);
  return true;
}

import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openFolderStorage } from './cold-folder-storage.js';
import { objectStorageContract } from './cold-object-storage.contract.js';

const temporary = () => mkdtemp(join(tmpdir(), 'meridian-objects-'));

objectStorageContract('folder', async () => {
  const folder = await temporary();
  return {
    open: () => openFolderStorage(join(folder, 'deep', 'objects')),
    dispose: () => rm(folder, { recursive: true, force: true }),
  };
});

test('what a crash left half written is no object, and is cleared away', async () => {
  const folder = await temporary();
  await writeFile(join(folder, '~1234-0'), 'half');
  const storage = await openFolderStorage(folder);
  expect(await storage.list('', null)).toEqual([]);
  expect(await readdir(folder)).toEqual([]);
  await rm(folder, { recursive: true });
});

test('a folder that cannot be made is unavailable, and says which', async () => {
  const folder = await temporary();
  await writeFile(join(folder, 'file'), '');
  await expect(openFolderStorage(join(folder, 'file', 'objects'))).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining(join(folder, 'file', 'objects')),
  });
  await rm(folder, { recursive: true });
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { enginesCache } from '../../scripts/engines/maven-jars.js';
import { type RunningS3Server, startS3Server } from '../../scripts/engines/s3-server.js';
import { objectStorageContract } from './cold-object-storage.contract.js';
import { listAll } from './cold-object-storage.js';
import { openS3Storage, type S3StorageOptions } from './s3-object-storage.js';

let folder: string;
let server: RunningS3Server;
let prefixes = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'meridian-s3-'));
  server = await startS3Server({ folder, cacheFolder: enginesCache(process.env), buckets: ['traces'] });
});
afterAll(async () => {
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

const open = (options: Partial<S3StorageOptions> = {}) =>
  openS3Storage({
    bucket: 'traces',
    endpoint: server.endpoint,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    ...options,
  });

objectStorageContract('s3', async () => {
  const prefix = `contract/${prefixes++}`;
  return { open: () => open({ prefix }), dispose: async () => {} };
});

test('prefixes keep users of one bucket apart', async () => {
  const [one, other] = await Promise.all([open({ prefix: 'one' }), open({ prefix: 'one-more' })]);
  await one.put('a', Buffer.from('1'));
  await other.put('b', Buffer.from('22'));
  expect(await listAll(one, '')).toEqual([{ name: 'a', bytes: 1 }]);
  expect(await listAll(other, '')).toEqual([{ name: 'b', bytes: 2 }]);
  await Promise.all([one.close(), other.close()]);
});

test('a bucket that is not there is a configuration error that names it', async () => {
  await expect(open({ bucket: 'elsewhere' })).rejects.toMatchObject({
    code: 'configuration',
    message: expect.stringContaining('bucket elsewhere'),
  });
});

test('a prefix that would not come back as it was is refused', async () => {
  for (const prefix of ['/a', 'a/', 'a//b', '../a', 'a b']) {
    await expect(open({ prefix })).rejects.toMatchObject({ code: 'configuration', retry: 'never' });
  }
});

test('a server that is away is unavailable; what it has is there when it is back', async () => {
  const storage = await open({ prefix: 'away', attemptsMax: 1 });
  await storage.put('kept', Buffer.from('bytes'));
  await server.kill();
  await expect(storage.read('kept', 0, 5)).rejects.toMatchObject({ code: 'unavailable', retry: 'later' });
  await expect(storage.put('lost', Buffer.from('x'))).rejects.toMatchObject({ code: 'unavailable', retry: 'later' });
  await expect(storage.list('', null)).rejects.toMatchObject({ code: 'unavailable' });
  await server.restart();
  expect((await storage.read('kept', 0, 5)).toString()).toBe('bytes');
  await storage.close();
});

import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ELASTICSEARCH_VERSION, startElasticsearch } from './elasticsearch.js';
import { enginesCache } from './maven-jars.js';

test('a node starts, keeps its port and its data through a kill and a restart, and leaves nothing behind', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'meridian-elasticsearch-'));
  const node = await startElasticsearch({ folder, cacheFolder: enginesCache(process.env) });
  try {
    const ask = async (path: string, init?: RequestInit) => (await fetch(`${node.url}${path}`, init)).json();
    expect(await ask('/')).toMatchObject({ version: { number: ELASTICSEARCH_VERSION } });
    const headers = { 'content-type': 'application/json' };
    await ask('/things/_doc/1', { method: 'PUT', body: '{"a":1}', headers });
    const { url, pid, ended } = node;
    await node.kill();
    expect(await ended).toBe('SIGKILL');
    expect(existsSync(join(folder, 'elasticsearch.pid'))).toBe(false);
    await node.restart();
    expect(node.url).toBe(url);
    expect(node.pid).not.toBe(pid);
    expect(await ask('/_cluster/health/things?wait_for_status=yellow')).toMatchObject({ timed_out: false });
    expect(await ask('/things/_doc/1')).toMatchObject({ found: true, _source: { a: 1 } });
    await node.stop();
    await expect(fetch(url)).rejects.toThrow();
    expect(await readFile(node.logFile, 'utf8')).toContain('ES_READY');
  } finally {
    await node.kill();
    await rm(folder, { recursive: true, force: true });
  }
});

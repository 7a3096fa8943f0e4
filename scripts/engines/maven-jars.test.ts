import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { enginesCache, ensureJars, folderNameOf, pomOf, run } from './maven-jars.js';

const ARTIFACTS = [{ group: 'org.example', name: 'engine', version: '1.2.3' }];

test('golden: the pom, whose hash names the folder', () => {
  expect(pomOf('example', ARTIFACTS)).toBe(`<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>meridian.engines</groupId><artifactId>example</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.example</groupId><artifactId>engine</artifactId><version>1.2.3</version></dependency>
  </dependencies>
</project>
`);
});

test('the cache is where XDG says, else in the home folder', () => {
  expect(enginesCache({ XDG_CACHE_HOME: '/cache' })).toBe('/cache/meridian/engines');
  expect(enginesCache({})).toMatch(/\.cache\/meridian\/engines$/);
  expect(enginesCache({ XDG_CACHE_HOME: '' })).toMatch(/\.cache\/meridian\/engines$/);
});

test('what the cache has is not fetched again, and needs neither Java nor Maven', async () => {
  const cacheFolder = mkdtempSync(join(tmpdir(), 'meridian-jars-'));
  onTestFinished(() => rmSync(cacheFolder, { recursive: true, force: true }));
  const jars = join(cacheFolder, folderNameOf({ engine: 'example', artifacts: ARTIFACTS }), 'jars');
  mkdirSync(jars, { recursive: true });
  for (const name of ['b.jar', 'a.jar', 'README']) writeFileSync(join(jars, name), '');
  const lines: string[] = [];
  const found = await ensureJars({
    engine: 'example',
    artifacts: ARTIFACTS,
    cacheFolder,
    onProgress: (line) => lines.push(line),
  });
  expect(found.jars).toEqual([join(jars, 'a.jar'), join(jars, 'b.jar')]);
  expect(lines).toEqual([]);
  expect(readdirSync(cacheFolder)).toHaveLength(1);
});

test('what is added to the jars is part of the key', () => {
  const prepare = (key: string) => ({ key, run: async () => {} });
  const names = [undefined, prepare('a'), prepare('b')].map((added) =>
    folderNameOf({ engine: 'example', artifacts: ARTIFACTS, ...(added ? { prepare: added } : {}) }),
  );
  expect(new Set(names).size).toBe(3);
});

test('a tool’s output comes line by line, and its end is kept', async () => {
  const lines: string[] = [];
  const script = 'printf "one\\ntw"; printf "o\\nthree"; exit 4';
  const result = await run('/bin/sh', ['-c', script], { folder: '/', budgetMs: 10_000, line: (l) => lines.push(l) });
  expect(result).toEqual({ code: 4, tail: 'one\ntwo\nthree' });
  expect(lines).toEqual(['one', 'two']);
  const short = await run('/bin/sh', ['-c', script], { folder: '/', budgetMs: 10_000, line: () => {}, tailMax: 5 });
  expect(short.tail).toBe('three');
});

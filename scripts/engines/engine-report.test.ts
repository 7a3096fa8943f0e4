import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { RegionId } from '../../global/model/ids.js';
import { ENGINE_KINDS, type EngineKind, enginePlaces, readEnginesFile, writeEnginesFile } from './engine-kinds.js';
import { redisAnswer } from './engine-probes.js';
import { type EngineReport, engineFindings, engineReport, watchOfFiles } from './engine-report.js';
import { metadataLevelOf, releaseOf } from './kafka-version.js';
import { writePidFile } from './pid-file.js';

const EAST = 'us-east-1' as RegionId;
const WEST = 'us-west-2' as RegionId;
const PORTS = { kafka: 9092, kafkaController: 9093, elasticsearch: 9200, redis: 6379 };
const SINCE = Date.UTC(2026, 10, 21, 7, 15, 3);

function folderOf(): string {
  const folder = mkdtempSync(join(tmpdir(), 'meridian-engines-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

describe('places', () => {
  test('are in the order of stopping: MirrorMakers before their brokers', () => {
    const places = enginePlaces('/d', [
      { region: EAST, ports: PORTS },
      { region: WEST, ports: PORTS },
    ]);
    expect([...new Set(places.map(({ kind }) => kind))]).toEqual([...ENGINE_KINDS]);
    expect(places[0]).toMatchObject({ name: 'us-east-1/mirror-maker', address: null });
    expect(places.at(-1)).toMatchObject({
      name: 'us-west-2/redis',
      address: 'redis://127.0.0.1:6379',
      pidFile: '/d/us-west-2/engines/redis/redis.pid',
    });
  });

  test('a region alone has no MirrorMaker', () => {
    expect(enginePlaces('/d', [{ region: EAST, ports: PORTS }]).map(({ kind }) => kind)).not.toContain('mirror-maker');
  });
});

describe('engines.json', () => {
  test('is read as it was written; none is null; another version or content is refused', () => {
    const folder = folderOf();
    expect(readEnginesFile(folder)).toBe(null);
    writeEnginesFile(folder, { startedBy: 'up', regions: [{ region: EAST, ports: PORTS }] });
    expect(readEnginesFile(folder)).toEqual({ version: 1, startedBy: 'up', regions: [{ region: EAST, ports: PORTS }] });
    writeFileSync(join(folder, 'engines.json'), '{"version":2}');
    expect(() => readEnginesFile(folder)).toThrow(expect.objectContaining({ code: 'unknown-version' }));
    writeFileSync(join(folder, 'engines.json'), '{"version":1,"startedBy":"me","regions":[]}');
    expect(() => readEnginesFile(folder)).toThrow(expect.objectContaining({ code: 'malformed' }));
    writeFileSync(join(folder, 'engines.json'), '{');
    expect(() => readEnginesFile(folder)).toThrow(expect.objectContaining({ code: 'malformed' }));
  });
});

describe('what is known of an engine that nobody watches', () => {
  const [place] = enginePlaces('/d', [{ region: EAST, ports: PORTS }]);

  test('runs since its pid file was written; ended when its log ends; stopped where there is no pid file', () => {
    const folder = folderOf();
    const files = { ...place!, pidFile: join(folder, 'kafka.pid'), logFile: join(folder, 'kafka.log') };
    expect(watchOfFiles(files)).toMatchObject({ state: 'stopped', sinceMs: Number.NaN, pid: null });
    writePidFile(files.pidFile, 'this', process.pid);
    utimesSync(files.pidFile, SINCE / 1000, SINCE / 1000);
    expect(watchOfFiles(files)).toMatchObject({ state: 'up', sinceMs: SINCE, pid: process.pid });
    writeFileSync(files.logFile, 'last words');
    utimesSync(files.logFile, SINCE / 1000, SINCE / 1000);
    writeFileSync(files.pidFile, JSON.stringify({ version: 1, name: 'x', pid: process.pid, birth: 'another' }));
    expect(watchOfFiles(files)).toMatchObject({ state: 'died', sinceMs: SINCE, pid: null });
    rmSync(files.pidFile);
    expect(watchOfFiles(files)).toMatchObject({ state: 'stopped', sinceMs: SINCE });
  });
});

describe('findings', () => {
  const report = (engine: EngineKind, state: EngineReport['state'], detail = ''): EngineReport => ({
    name: `${EAST}/${engine}`,
    region: EAST,
    engine,
    version: null,
    address: null,
    pid: null,
    state,
    since: new Date(SINCE).toISOString(),
    detail,
    logFile: `/d/${engine}.log`,
  });
  const others = (but: EngineKind) => ENGINE_KINDS.filter((kind) => kind !== but).map((kind) => report(kind, 'up'));
  const at = (unixMs: number) => new Date(unixMs).toISOString().slice(11, 19);

  test('none where all are up', () => {
    expect(engineFindings(others('redis'), at)).toEqual([]);
  });

  test.each([
    ['kafka', /nothing that was acknowledged is lost.*Stored traces of us-east-1 are answered/],
    ['elasticsearch', /Ingest of us-east-1 goes on.*Live traces are answered.*Nothing is lost/],
    ['redis', /asks every region instead.*Ingest of us-east-1 goes on.*Nothing is lost/],
    ['mirror-maker', /learns of no new traces.*Nothing is lost/],
  ] as const)('%s: which, since when, what follows', (kind, words) => {
    const findings = engineFindings([...others(kind), report(kind, 'stopped')], at);
    expect(findings).toHaveLength(1);
    expect(findings[0]).toMatch(/^(Kafka|Elasticsearch|Redis|MirrorMaker) of us-east-1 is stopped since 07:15:03: /);
    expect(findings[0]).toMatch(words);
  });

  test('one that died tells how and where its log is', () => {
    const [finding] = engineFindings([...others('kafka'), report('kafka', 'died', 'SIGKILL')], at);
    expect(finding).toMatch(/is down since 07:15:03 \(SIGKILL\): .* Its log: \/d\/kafka.log$/);
  });

  test('what one engine takes over is not promised where the other is away, too', () => {
    const two = [report('mirror-maker', 'up'), report('redis', 'up')];
    const findings = engineFindings([report('kafka', 'died'), report('elasticsearch', 'died'), ...two], at).join('\n');
    expect(findings).not.toMatch(/Ingest .* goes on|Stored traces .* are answered|Live traces are answered/);
  });

  test('a region with all of its engines down is one finding', () => {
    const findings = engineFindings(
      ENGINE_KINDS.map((kind) => report(kind, 'stopped')),
      at,
    );
    expect(findings).toEqual([
      expect.stringMatching(/^All engines of us-east-1 are down since 07:15:03: .*meridian start us-east-1/),
    ]);
  });
});

test('a process that runs but does not answer is unwell', () => {
  const [place] = enginePlaces('/d', [{ region: EAST, ports: PORTS }]);
  const watch = { state: 'up', sinceMs: SINCE, pid: 4711, detail: null } as const;
  const silent = { version: null, well: false, detail: 'does not answer: connect ECONNREFUSED' };
  expect(engineReport({ ...place!, watch }, silent)).toMatchObject({
    state: 'unwell',
    pid: 4711,
    detail: silent.detail,
  });
  expect(engineReport({ ...place!, watch }, null)).toMatchObject({ state: 'up', since: '2026-11-21T07:15:03.000Z' });
});

describe('redis', () => {
  const info = (more: string) =>
    `# Server\r\nredis_version:7.0.15\r\nloading:0\r\naof_enabled:1\r\naof_last_write_status:ok\r\nused_memory_human:1.35M\r\nevicted_keys:0\r\n${more}db0:keys=12,expires=0\r\n`;

  test('says its version, memory and keys', () => {
    expect(redisAnswer(info(''))).toEqual({ version: '7.0.15', well: true, detail: '1.35M of memory, 12 keys' });
  });

  test.each([
    ['loading:1', /still loading/],
    ['aof_enabled:0', /does not write to disk/],
    ['aof_last_write_status:err', /cannot write/],
    ['evicted_keys:3', /thrown 3 keys away/],
  ])('%s is not well', (line, words) => {
    const answer = redisAnswer(info(`${line}\r\n`));
    expect(answer.well).toBe(false);
    expect(answer.detail).toMatch(words);
  });
});

describe('the release of a Kafka broker', () => {
  // ApiVersions v3: correlation, no error, one api (18, 0..3), no throttling, and one tagged field of supported features.
  const name = Buffer.from('metadata.version');
  const feature = Buffer.concat([Buffer.from([name.length + 1]), name, Buffer.from([0, 1, 0, 21, 0])]);
  const features = Buffer.concat([Buffer.from([2]), feature]);
  const head = Buffer.from([0, 0, 0, 1, 0, 0, 2, 0, 18, 0, 0, 0, 3, 0, 0, 0, 0, 0]);

  test('is that of the highest metadata.version that it supports', () => {
    const answer = Buffer.concat([head, Buffer.from([1, 0, features.length]), features]);
    expect(metadataLevelOf(answer)).toBe(21);
    expect([7, 8, 20, 21, 22, 27, 99].map(releaseOf)).toEqual([
      '3.3',
      '3.4',
      '3.8',
      '3.9',
      '4.0',
      '4.1',
      'later than 4.1',
    ]);
  });

  test('is unknown where it names none, and an error is one', () => {
    expect(metadataLevelOf(Buffer.concat([head, Buffer.from([0])]))).toBe(null);
    const refused = Buffer.from(head);
    refused.writeInt16BE(35, 4);
    expect(() => metadataLevelOf(refused)).toThrow(/error 35/);
  });

  test('an answer that is cut off is an error', () => {
    const answer = Buffer.concat([head, Buffer.from([1, 0, features.length]), features]);
    for (let length = 4; length < answer.length - 1; length++) {
      expect(() => metadataLevelOf(answer.subarray(0, length))).toThrow();
    }
  });
});

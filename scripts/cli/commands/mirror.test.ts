import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { CommandContext } from '../context.js';
import { ExitCode } from '../exit-codes.js';
import { mirrorConfigCommand, mirrorPrepareCommand } from './mirror.js';

function setUp() {
  const folder = mkdtempSync(join(tmpdir(), 'meridian-mirror-command-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const lines: string[] = [];
  const out = (line: string) => void lines.push(line);
  const context: CommandContext = {
    terminal: { colors: false, width: 80, out, note: out, progress: () => {} },
    environment: {},
    stop: new AbortController().signal,
  };
  const file = (name: string, value: unknown) => {
    const path = join(folder, name);
    writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value));
    return path;
  };
  return { context, lines, file };
}

const region = (name: string, kafka?: string[]) => ({
  region: name,
  regionApi: `${name}:7001`,
  ...(kafka ? { kafka } : {}),
});
const fleet = { regions: [region('us-east-1', ['a:9092']), region('eu-west-1', ['b:9092', 'c:9092'])] };

describe('mirror-config', () => {
  test('prints what a fleet file says, and what a configuration that holds a fleet says', async () => {
    const { context, lines, file } = setUp();
    const target = 'eu-west-1';
    expect(await mirrorConfigCommand(context, { fleet: file('fleet.json', fleet), target })).toBe(ExitCode.done);
    expect(await mirrorConfigCommand(context, { fleet: file('region.json', { fleet }), target })).toBe(ExitCode.done);
    expect(lines[0]).toContain('us-east-1->eu-west-1.topics = trace-metadata');
    expect(lines[0]).toContain('eu-west-1.bootstrap.servers = b:9092,c:9092');
    expect(lines[0]).toContain('replication.factor = 3');
    expect(lines[1]).toBe(lines[0]);
  });

  test('more properties, another replication factor, the log configuration', async () => {
    const { context, lines, file } = setUp();
    const options = { fleet: file('fleet.json', fleet), target: 'eu-west-1' };
    const extra = file('extra.json', { 'us-east-1': { 'security.protocol': 'SSL' } });
    await mirrorConfigCommand(context, { ...options, extra, replicationFactor: '1' });
    await mirrorConfigCommand(context, { ...options, logging: '/tmp/tasks.log' });
    expect(lines[0]).toContain('us-east-1.security.protocol = SSL');
    expect(lines[0]).toContain('replication.factor = 1');
    expect(lines[1]).toContain('log4j.appender.tasks.File=/tmp/tasks.log');
  });

  test('what is wrong is named', async () => {
    const { context, file } = setUp();
    const path = file('fleet.json', fleet);
    const problem = (over: object) => mirrorConfigCommand(context, { fleet: path, target: 'eu-west-1', ...over });
    const wrong = (message: string) => ({ code: 'configuration', message: expect.stringContaining(message) as string });
    await expect(problem({ fleet: '/nowhere/fleet.json' })).rejects.toMatchObject(wrong('cannot read /nowhere'));
    await expect(problem({ fleet: file('text', '{') })).rejects.toMatchObject(wrong('is not JSON'));
    await expect(problem({ target: 'ap-south-1' })).rejects.toMatchObject(wrong('"ap-south-1" is not in the fleet'));
    await expect(problem({ replicationFactor: '0' })).rejects.toMatchObject(wrong('replication-factor: "0"'));
    await expect(problem({ replicationFactor: '11' })).rejects.toMatchObject(wrong('replication-factor: "11"'));
    await expect(problem({ extra: file('x.json', { a: 1 }) })).rejects.toMatchObject(wrong('extra: '));
    const noKafka = file('none.json', { regions: [region('us-east-1'), region('eu-west-1', ['b:9092'])] });
    await expect(problem({ fleet: noKafka })).rejects.toMatchObject(wrong('regions.us-east-1 names no "kafka"'));
  });
});

describe('mirror-prepare', () => {
  test('credentials that do not go together are refused before anything is asked', async () => {
    const { context, file } = setUp();
    const options = { fleet: file('fleet.json', fleet), target: 'eu-west-1' };
    const connect = file('connect.json', { 'us-east-1': { user: 'meridian' } });
    await expect(mirrorPrepareCommand(context, { ...options, connect })).rejects.toMatchObject({
      code: 'configuration',
      message: 'connect: us-east-1: user and passwordFile go together',
    });
  });
});

import { describe, expect, test } from 'vitest';
import { type MirrorMakerConfig, mirrorMakerLogging, mirrorMakerProperties } from './mirror-maker-config.js';

const fleet = [
  { region: 'us-east-1', brokers: ['a:9092', 'b:9092'] },
  { region: 'us-west-2', brokers: ['c:9092'] },
  { region: 'eu-west-1', brokers: ['d:9092'] },
];
const config: MirrorMakerConfig = { target: fleet[2]!, sources: fleet, topics: ['trace-metadata'] };

/** As Java reads a properties file, for what ours contain. */
function parsed(text: string): Map<string, string> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const at = line.indexOf(' = ');
      expect(at).toBeGreaterThan(0);
      return [line.slice(0, at), line.slice(at + 3).replaceAll('\\\\', '\\')];
    }),
  );
}

const problemOf = (over: Partial<MirrorMakerConfig>): string => {
  try {
    mirrorMakerProperties({ ...config, ...over });
    return '';
  } catch (error) {
    expect(error).toMatchObject({ code: 'configuration' });
    return (error as Error).message;
  }
};

describe('the properties of a MirrorMaker', () => {
  test('one link from every other region, and none between those', () => {
    const found = parsed(mirrorMakerProperties(config));
    expect(found.get('clusters')).toBe('eu-west-1, us-east-1, us-west-2');
    expect(found.get('us-east-1.bootstrap.servers')).toBe('a:9092,b:9092');
    const enabled = [...found].filter(([name]) => name.endsWith('.enabled') && name.includes('->'));
    expect(enabled).toEqual([
      ['us-east-1->eu-west-1.enabled', 'true'],
      ['us-west-2->eu-west-1.enabled', 'true'],
    ]);
    // Else there would be workers for every pair of clusters.
    expect(found.get('emit.heartbeats.enabled')).toBe('false');
  });

  test('fails rather than skips, and reads by a group of its own', () => {
    const found = parsed(mirrorMakerProperties(config));
    expect(found.get('us-west-2->eu-west-1.source.consumer.auto.offset.reset')).toBe('none');
    expect(found.get('us-west-2->eu-west-1.source.consumer.group.id')).toBe('meridian-mirror-eu-west-1');
  });

  test("commits of the source's groups stay there", () => {
    const found = parsed(mirrorMakerProperties(config));
    expect(found.get('sync.group.offsets.enabled')).toBe('false');
    expect(found.get('emit.checkpoints.enabled')).toBe('false');
  });

  test('room for the largest entry, in order, durable', () => {
    const found = parsed(mirrorMakerProperties(config));
    expect(Number(found.get('eu-west-1.producer.max.request.size'))).toBeGreaterThan(16 * 1024 * 1024 * 1.01 + 131072);
    expect(found.get('eu-west-1.producer.acks')).toBe('all');
    expect(found.get('eu-west-1.producer.enable.idempotence')).toBe('true');
    expect(found.get('eu-west-1.connect.protocol')).toBe('eager');
  });

  test('names of topics are taken literally', () => {
    const found = parsed(mirrorMakerProperties({ ...config, topics: ['trace-metadata', 'region.control'] }));
    expect(found.get('us-east-1->eu-west-1.topics')).toBe('trace-metadata, region\\.control');
  });

  test('replication factors of what it makes', () => {
    const names = (text: string, value: string) =>
      [...parsed(text)].filter(([name, v]) => name.endsWith('replication.factor') && v === value).length;
    expect(names(mirrorMakerProperties(config), '3')).toBe(4);
    expect(names(mirrorMakerProperties({ ...config, replicationFactor: 1 }), '1')).toBe(4);
  });

  test('more properties per cluster come last, with secrets from files', () => {
    const reference = `$${'{file:/run/secrets/us:password}'}`;
    const extra = { 'us-east-1': { 'security.protocol': 'SASL_SSL', 'ssl.truststore.password': reference } };
    const text = mirrorMakerProperties({ ...config, extra });
    const found = parsed(text);
    expect(found.get('us-east-1.security.protocol')).toBe('SASL_SSL');
    expect(found.get('us-east-1.ssl.truststore.password')).toBe(reference);
    expect(found.get('config.providers')).toBe('file');
    expect(parsed(mirrorMakerProperties(config)).has('config.providers')).toBe(false);
  });

  test('what is wrong is named', () => {
    const brokers = ['x:1'];
    expect(problemOf({ target: { region: 'EU', brokers } })).toContain('"EU" is no region name');
    expect(problemOf({ sources: [{ region: 'us-east-1', brokers: [] }] })).toContain('us-east-1 has no Kafka brokers');
    expect(problemOf({ sources: [{ region: 'us-east-1', brokers: ['x'] }] })).toContain('"x" is not host:port');
    expect(problemOf({ sources: [fleet[0]!, fleet[0]!] })).toContain('named twice');
    expect(problemOf({ sources: [fleet[2]!] })).toContain('no other region');
    expect(problemOf({ topics: [] })).toContain('no topics');
    expect(problemOf({ topics: ['a b'] })).toContain('"a b" is no topic name');
    expect(problemOf({ topics: ['us-east-1.trace-metadata'] })).toContain('in circles');
    expect(problemOf({ extra: { 'ap-south-1': {} } })).toContain('"ap-south-1"');
    expect(problemOf({ extra: { 'us-east-1': { 'ssl.key.password': 'hunter2' } } })).toContain('is a secret');
    const jaas = { 'sasl.jaas.config': 'org.apache.kafka.PlainLoginModule required password="hunter2";' };
    const message = problemOf({ extra: { 'us-east-1': jaas } });
    expect(message).toContain('is a secret');
    expect(message).not.toContain('hunter2');
    expect(problemOf({ extra: { 'us-east-1': { 'a.b': 'x\ny' } } })).toContain('line break');
    expect(problemOf({ extra: { 'us-east-1': { 'a b': 'x' } } })).toContain('no property name');
  });
});

describe('the log configuration', () => {
  test('what tasks say is bounded and stays out of the rest', () => {
    const text = mirrorMakerLogging('/var/log/tasks.log');
    expect(text).toContain('log4j.appender.tasks.File=/var/log/tasks.log');
    expect(text).toContain('log4j.appender.tasks=org.apache.log4j.RollingFileAppender');
    expect(text).toContain('log4j.additivity.org.apache.kafka.connect.mirror.MirrorSourceTask=false');
  });
});

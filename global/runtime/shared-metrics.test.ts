import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { sharedCounter, sharedGauge } from './shared-metrics.js';

test('the same metric for the same name and registry', async () => {
  const registry = new Registry();
  const counter = () => sharedCounter(registry, 'seen_total', 'Seen', ['source']);
  counter().inc({ source: 'a' });
  counter().inc({ source: 'b' }, 2);
  expect(await registry.getSingleMetricAsString('seen_total')).toContain('seen_total{source="b"} 2');
  const gauge = () => sharedGauge(registry, 'held', 'Held', ['source']);
  expect(gauge()).toBe(gauge());
  expect(sharedCounter(new Registry(), 'seen_total', 'Seen', ['source'])).not.toBe(counter());
});

test('a name that another kind has is refused', () => {
  const registry = new Registry();
  sharedGauge(registry, 'taken', 'Taken', []);
  expect(() => sharedCounter(registry, 'taken', 'Taken', [])).toThrow('already been registered');
});

import { pagingSuite } from './suites/paging.js';
import { protocolsSuite } from './suites/protocols.js';
import { regionsAwaySuite } from './suites/regions-away.js';
import { useFleet } from './use-fleet.js';

/** The whole-system suites of the embedded fleet, on Kafka, MirrorMaker 2, Elasticsearch and Redis. */

const START_BUDGET_MS = 300_000;
const fleet = useFleet({ engines: 'local', regionOptions: { assemblerSettleMs: 150 } }, START_BUDGET_MS);

protocolsSuite(fleet);
pagingSuite(fleet);
regionsAwaySuite(fleet, {
  // One MirrorMaker near the target carries all links to it.
  cut: (at) => fleet().actOnEngine(`${at}/mirror-maker`, 'stop'),
  heal: (at) => fleet().actOnEngine(`${at}/mirror-maker`, 'start'),
});

import { protocolsSuite } from './suites/protocols.js';
import { useFleet } from './use-fleet.js';

protocolsSuite(useFleet({}));

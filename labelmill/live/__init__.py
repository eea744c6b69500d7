"""The live lane: a request per text, paced and guarded, in rounds of `chain.batch`."""

{"algorithm":"Ed25519","key_id":"920bd3f7f36456ac","signature":"CEFizPyLduom/+IrB6+qZywVO3PAMATZ9qIzdF2p9lQ+0vyptj9wzDiobIS3OJOcLfolRQ+6zCR6CwfLeeX5Bw=="}

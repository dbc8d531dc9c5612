{"algorithm":"Ed25519","key_id":"d1f0f1ab987571d9","signature":"MBy8mq5fPyufmxKGaL+QjanYzdLKju+vysUsSHtDsyEY7112cyi+d/5voQG7TTitehohN1ch8BUGjy6rNUfXBA=="}
